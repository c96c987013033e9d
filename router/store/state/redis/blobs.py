"""Small pieces of state that several gateways change, in three keys of one hash tag: contents and versions by name, and
the times of writing.
"""

from __future__ import annotations

from router.store.state.blobs import KEEP_S
from router.store.state.protocol import Blob
from router.store.state.redis.connection import RedisConnection
from router.store.state.redis.scripts import script

_SWAP = script(
    """
    local contents, versions, written = KEYS[1], KEYS[2], KEYS[3]
    local name, seen, content, now, oldest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
    local known = redis.call('ZSCORE', versions, name)
    if tonumber(known or '0') ~= tonumber(seen) then return '0' end
    -- Milliseconds, so that versions go on growing where the server has lost its data.
    local time = redis.call('TIME')
    local last = redis.call('ZREVRANGE', versions, 0, 0, 'WITHSCORES')
    local version = math.max(tonumber(last[2] or '0') + 1, time[1] * 1000 + math.floor(time[2] / 1000))
    redis.call('HSET', contents, name, content)
    redis.call('ZADD', versions, string.format('%.0f', version), name)
    redis.call('ZADD', written, now, name)
    -- Never the one that was just written, so the highest version stays.
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', written, '-inf', '(' .. oldest, 'LIMIT', 0, 10)) do
        redis.call('HDEL', contents, old)
        redis.call('ZREM', versions, old)
        redis.call('ZREM', written, old)
    end
    return string.format('%.0f', version)
    """,
    3,
)
_AFTER = script(
    """
    local found = {}
    local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES')
    for place = 1, #changed, 2 do
        local name = changed[place]
        if string.sub(name, 1, #ARGV[2]) == ARGV[2] then
            found[#found + 1] = {name, changed[place + 1], redis.call('HGET', KEYS[1], name)}
        end
    end
    return found
    """,
    2,
)


async def swap(connection: RedisConnection, keys: str, blob: Blob, now_s: float) -> int:
    """See `StateStore.swap_blob`. `keys` begins the names of all keys. Raises StateError, as `after` does.

    After a call that failed, nobody knows whether it was done.
    """
    times = int(now_s), int(now_s - KEEP_S)
    return int(await connection.run(_SWAP, _names(keys), blob.name, blob.version, blob.content, *times))


async def after(connection: RedisConnection, keys: str, version: int, prefix: str) -> tuple[Blob, ...]:
    """See `StateStore.blobs_after`."""
    found = await connection.run(_AFTER, _names(keys)[:2], version, prefix)
    return tuple(Blob(name.decode(), int(float(number)), content) for name, number, content in found)


def _names(keys: str) -> tuple[str, str, str]:
    return f"{keys}:content", f"{keys}:version", f"{keys}:written"

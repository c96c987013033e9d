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
    local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES')
    local found = {changed[#changed] or ARGV[1]}
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


_MOST_PREFIXES = 1000


class Blobs:
    """The blobs whose keys begin with `keys`. Its methods raise StateError; after a call that failed, nobody knows
    whether it was done.
    """

    def __init__(self, connection: RedisConnection, keys: str) -> None:
        self._connection = connection
        self._names = f"{keys}:content", f"{keys}:version", f"{keys}:written"
        # By prefix: of the versions that were read last, the greatest with this prefix, and the greatest of all.
        # Whoever asks again and again need not read those of other prefixes again and again.
        self._read: dict[str, tuple[int, int]] = {}

    async def swap(self, blob: Blob, now_s: float) -> int:
        """See `StateStore.swap_blob`."""
        times = int(now_s), int(now_s - KEEP_S)
        return int(await self._connection.run(_SWAP, self._names, blob.name, blob.version, blob.content, *times))

    async def after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        """See `StateStore.blobs_after`."""
        own, last = self._read.get(prefix, (0, -1))
        first = last if own <= version <= last else version
        end, *found = await self._connection.run(_AFTER, self._names[:2], first, prefix)
        blobs = tuple(Blob(name.decode(), int(float(number)), content) for name, number, content in found)
        if len(self._read) >= _MOST_PREFIXES:
            self._read.clear()
        self._read[prefix] = blobs[-1].version if blobs else version, int(float(end))
        return blobs

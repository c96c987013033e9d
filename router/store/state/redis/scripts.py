"""The changes of the shared state that must happen at once, as Lua scripts.

All keys of a script have the same hash tag, so they are on the same node of a cluster. Amounts are in 1e-9 US dollars:
whole numbers, added by HINCRBY, because Lua's own numbers are exact only up to 2**53.

A budget has four keys. `spend`: a hash with, for each UTC day, `s<day>` spent, `r<day>` reserved, `w<day>` the sum of
the worst cases of running requests, and `n<day>` their number; `e` is the epoch, which is another one after a loss of
data. `held`: a hash from the id of a reservation to
`day:cost:worst`, or `x` for an id that must have no further effect. `expiry`: those that run, by the time at which they
expire. `booked`: those that expired, and the ids with `x`, by their time.

Every script may run twice: after a timeout, nobody knows whether it ran.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script with its hash, by which servers know it. `keys`: the number of its keys."""

    text: str
    sha: str
    keys: int


def script(text: str, keys: int) -> Script:
    """The script with this text, which has so many keys."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), keys)


_DAY_S = 86_400
_KEEP_DAYS = 7
_KEEP_S = (_KEEP_DAYS + 1) * _DAY_S

TAKE = script(
    """
    local now, step = tonumber(ARGV[1]), tonumber(ARGV[2])
    local free = tonumber(redis.call('GET', KEYS[1]) or ARGV[1])
    -- The clocks of two gateways differ by less than a minute; what is further ahead was set back.
    if free < now or free > now + 120000000 then free = now end
    local due = free + step
    if due > now + 60000000 then return string.format('%.0f', math.max(due - now - 60000000, 1)) end
    redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 60000)
    return '0'
    """,
    1,
)
"""One request at the generic cell rate. Key: pace. Arguments: now and the step, in µs. Returns the wait in µs, or 0."""

_BUDGET = f"""
    local spend, held, expiry, booked = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
    local function subtract(name, amount)
        if amount ~= '0' then redis.call('HINCRBY', spend, name, '-' .. amount) end
    end
    local function release(id, text)
        local day, cost, worst = string.match(text, '^(%d+):(%d+):(%d+)$')
        subtract('r' .. day, cost)
        if worst ~= '0' then
            subtract('w' .. day, worst)
            redis.call('HINCRBY', spend, 'n' .. day, -1)
        end
        return day, cost
    end
    local function keep(id, at)
        redis.call('ZADD', booked, at, id)
        for _, old in ipairs(redis.call('ZRANGEBYSCORE', booked, '-inf', at - {_DAY_S}, 'LIMIT', 0, 100)) do
            redis.call('HDEL', held, old)
            redis.call('ZREM', booked, old)
        end
        for _, key in ipairs({{held, booked}}) do redis.call('EXPIRE', key, {2 * _DAY_S}) end
    end
    local function mark(id, at)
        redis.call('HSET', held, id, 'x')
        keep(id, at)
    end
    local function expire(now)
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 1000)) do
            local text = redis.call('HGET', held, id)
            redis.call('ZREM', expiry, id)
            if text and text ~= 'x' then
                local day, cost = release(id, text)
                redis.call('HINCRBY', spend, 's' .. day, cost)
                keep(id, now)
            end
        end
    end
    local function number(name) return tonumber(redis.call('HGET', spend, name) or '0') end
    local function open_day(day, known, id)
        redis.call('HSETNX', spend, 'e', id)
        if redis.call('HEXISTS', spend, 's' .. day) == 1 then return end
        -- The first of a day; or the server has lost its data, and this gateway knows what was spent.
        redis.call('HSET', spend, 's' .. day, known)
        for _, name in ipairs(redis.call('HKEYS', spend)) do
            local of = tonumber(string.sub(name, 2))
            if of and of < tonumber(day) - {_KEEP_DAYS} then redis.call('HDEL', spend, name) end
        end
        redis.call('EXPIRE', spend, {_KEEP_S})
    end
"""

RESERVE = script(
    f"""{_BUDGET}
    local id, day, cost, likely, worst = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
    local budget, now, expires, forced, known = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
    expire(now)
    open_day(day, known, id)
    local spent, reserved = number('s' .. day), number('r' .. day)
    if redis.call('HEXISTS', held, id) == 0 then
        local fits = spent + reserved + worst <= budget and spent + number('w' .. day) < budget
        local alone = spent + likely <= budget and number('n' .. day) == 0
        if forced == '0' and worst > 0 and not fits and not alone then
            local first = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')
            return {{0, string.format('%.0f', spent), string.format('%.0f', reserved), first[2] or ''}}
        end
        redis.call('HSET', held, id, day .. ':' .. cost .. ':' .. ARGV[5])
        redis.call('HINCRBY', spend, 'r' .. day, cost)
        if worst > 0 then
            redis.call('HINCRBY', spend, 'w' .. day, ARGV[5])
            redis.call('HINCRBY', spend, 'n' .. day, 1)
        end
        redis.call('ZADD', expiry, expires, id)
        redis.call('EXPIRE', held, {2 * _DAY_S})
        redis.call('EXPIRE', expiry, {2 * _DAY_S})
        reserved = reserved + tonumber(cost)
    end
    return {{1, string.format('%.0f', spent), string.format('%.0f', reserved), redis.call('HGET', spend, 'e')}}
    """,
    4,
)
"""Reserve a part of a budget.

Arguments: id, day, cost, likely, worst, budget, now and expiry in seconds, 1 where it must be accepted, and what was
spent as far as the gateway knows. Returns 1, spent, reserved and the epoch, or 0, spent, reserved and when the first
reservation expires.
"""

SETTLE = script(
    f"""{_BUDGET}
    local id, paid, undone, now, epoch, day, known =
        ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
    local text = redis.call('HGET', held, id)
    if text == 'x' then return 0 end
    if not text then
        -- The reservation may still arrive, from a connection that has been closed meanwhile.
        if undone == '1' then
            mark(id, now)
        elseif epoch ~= '' and epoch ~= redis.call('HGET', spend, 'e') then
            -- The server has lost its data since the reservation.
            open_day(day, known, id)
            mark(id, now)
            redis.call('HINCRBY', spend, 's' .. day, paid)
        end
        return 0
    end
    if redis.call('ZREM', expiry, id) == 1 then
        day = release(id, text)
    else
        local cost
        day, cost = string.match(text, '^(%d+):(%d+):')
        subtract('s' .. day, cost)
        redis.call('ZREM', booked, id)
    end
    redis.call('HINCRBY', spend, 's' .. day, paid)
    redis.call('HDEL', held, id)
    return 1
    """,
    4,
)
"""Replace a reservation by its cost.

Arguments: id, cost, 1 where the reservation never became known, now in seconds, the epoch in which it was made (empty
if unknown), its day, and what was spent as far as the gateway knows. Returns whether there was one.
"""

CHARGE = script(
    f"""{_BUDGET}
    local id, day, cost, now, known = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
    if redis.call('HEXISTS', held, id) == 1 then return 0 end
    open_day(day, known, id)
    mark(id, now)
    redis.call('HINCRBY', spend, 's' .. day, cost)
    return 1
    """,
    4,
)
"""Add a cost without a reservation. Arguments: id, day, cost, now in seconds, and what was spent as far as is known."""

RENEW = script(
    """
    for place = 2, #ARGV do redis.call('ZADD', KEYS[3], 'XX', ARGV[1], ARGV[place]) end
    return 0
    """,
    4,
)
"""Keep reservations from expiring. Arguments: the new expiry in seconds, and their ids."""

SPENT = script(
    f"""{_BUDGET}
    expire(tonumber(ARGV[2]))
    return redis.call('HGET', spend, 's' .. ARGV[1]) or '0'
    """,
    4,
)
"""What was spent on a day. Arguments: the day, now in seconds."""

REMEMBER = script(
    """
    local stored = redis.call('GET', KEYS[1])
    if stored and tonumber(string.match(stored, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3])
    return 1
    """,
    1,
)
"""Store who answered a conversation, late: unless an answer of that time or a newer one is stored.

Key: the conversation. Arguments: the time of the answer in seconds, the value, which begins with that time, and the
time at which it expires. Returns whether it was stored.
"""

COUNT_TRIAL = script(
    """
    local base = ARGV[1]
    for place = 3, #ARGV do
        redis.call('HINCRBY', KEYS[1], base .. ARGV[place], 1)
        redis.call('HINCRBY', KEYS[2], ARGV[2] .. ARGV[place], 1)
    end
    local counts = {}
    for place, name in ipairs({'new', 'new_bad', 'old', 'old_bad', 'stopped', 'stopped_s'}) do
        counts[place] = redis.call('HGET', KEYS[1], base .. name) or ''
    end
    return counts
    """,
    2,
)
"""Add 1 to counts of a trial and to those of one client's key, given by their names, and return the former."""

STOP_TRIAL = script(
    """
    local base = ARGV[1]
    if redis.call('HGET', KEYS[1], base .. 'stopped') then return 0 end
    redis.call('HSET', KEYS[1], base .. 'stopped', ARGV[2], base .. 'stopped_s', ARGV[3])
    return 1
    """,
    1,
)
"""Stop a trial, for a reason, at a time. Returns whether it ran."""

JOIN = script(
    """
    local now = redis.call('TIME')[1]
    if ARGV[2] == '0' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return redis.call('ZCARD', KEYS[1])
    """,
    1,
)
"""Be counted among the processes that share the state. Arguments: id, for how many seconds, 0 to leave. Returns how
many there are.
"""

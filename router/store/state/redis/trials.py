"""The trials of canaries, in one hash: its fields are the ids of both cards and the name of the count.

The counts by client's key are in a hash for each trial, whose fields are the key's id and the name of the count.
"""

from __future__ import annotations

from urllib.parse import quote

from router.store.state.protocol import TrialCounts
from router.store.state.redis import scripts
from router.store.state.redis.connection import RedisConnection

_COUNTS = ("new", "new_bad", "old", "old_bad")
_FIELDS = (*_COUNTS, "stopped", "stopped_s")


async def count(
    connection: RedisConnection, key: str, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str
) -> TrialCounts:
    """Count one answer to a client's key, and return the counts of all. Raises StateError, as all of these."""
    name = "new" if is_new else "old"
    counted = (name, f"{name}_bad") if is_bad else (name,)
    keys = (key, _by_key(key, trial))
    reply = await connection.run(scripts.COUNT_TRIAL, keys, _base(trial), f"{key_id}\0", *counted)
    return _counts(trial, dict(zip(_FIELDS, reply, strict=True)))


async def by_key(connection: RedisConnection, key: str, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
    """The counts of each client's key."""
    fields: dict[str, dict[str, bytes]] = {}
    for field, value in await _pairs(connection, _by_key(key, trial)):
        key_id, _, name = field.decode().rpartition("\0")
        fields.setdefault(key_id, {})[name] = value
    return tuple(_counts(trial, of_key) for of_key in fields.values())


async def stop(connection: RedisConnection, key: str, trial: tuple[str, str], why: str, now_s: float) -> bool:
    """Roll the canary back. False where that has been done already."""
    return bool(await connection.run(scripts.STOP_TRIAL, (key,), _base(trial), why, int(now_s)))


async def forget(connection: RedisConnection, key: str, trial: tuple[str, str]) -> None:
    """Begin the trial again."""
    await connection.command("HDEL", key, *(_base(trial) + name for name in _FIELDS))
    await connection.command("DEL", _by_key(key, trial))


async def all_trials(connection: RedisConnection, key: str) -> tuple[TrialCounts, ...]:
    """All trials, by the ids of their cards."""
    fields: dict[tuple[str, str], dict[str, bytes]] = {}
    for field, value in await _pairs(connection, key):
        card, of, name = field.decode().split("\0")
        fields.setdefault((card, of), {})[name] = value
    return tuple(_counts(trial, fields[trial]) for trial in sorted(fields))


async def _pairs(connection: RedisConnection, key: str) -> list[tuple[bytes, bytes]]:
    stored = await connection.command("HGETALL", key)
    # Clients of a cluster return a flat list for a command that they do not know by name.
    return list(stored.items() if isinstance(stored, dict) else zip(stored[::2], stored[1::2], strict=True))


def _by_key(key: str, trial: tuple[str, str]) -> str:
    return f"{key}:{quote(trial[0], safe='')}:{quote(trial[1], safe='')}"


def _base(trial: tuple[str, str]) -> str:
    return f"{trial[0]}\0{trial[1]}\0"


def _counts(trial: tuple[str, str], fields: dict[str, bytes]) -> TrialCounts:
    new, new_bad, old, old_bad = (int(fields.get(name) or 0) for name in _COUNTS)
    stopped = fields.get("stopped", b"").decode()
    return TrialCounts(*trial, new, new_bad, old, old_bad, stopped, int(fields["stopped_s"]) if stopped else None)

"""Totals of the records of an hour and of a day, which are kept beside the records so that no page reads them all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import Struct

HOUR_S = 3600
DAY_S = 24 * HOUR_S
Grouping = Literal["hour", "day", "card", "policy", "key", "surface"]


class Totals(Struct, frozen=True):
    """The requests of one group. `group` has one value for each grouping that was asked for: the beginning of an hour
    or a day (UTC), in seconds since 1970, or an id, empty where a request had no card, policy or key.

    `errors` of the `requests` failed; the other numbers are sums.
    """

    group: tuple[str | int, ...]
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    total_ms: float


_SUMS = ("requests", "errors", "input_tokens", "output_tokens", "cost_usd", "total_ms")
_ADDED_UP_UNTIL = f"ifnull((SELECT max(day) + {DAY_S} FROM days), 0)"
_PLACES = ("surface", "card", "policy", "key")


def select(
    by: Sequence[Grouping], since_s: float, until_s: float, surfaces: Collection[str]
) -> tuple[str, list[float | str]]:
    """The query for the totals of the hours that begin in this time, and its parameters.

    Whole days are read from their own totals where no hour is asked for: many times fewer rows.
    """
    columns, sums = ", ".join(by), ", ".join(f"sum({name})" for name in _SUMS)
    kept = ", ".join((*_PLACES, *_SUMS))
    within = f"surface IN ({', '.join('?' * len(surfaces))})"
    of_hours = (
        f"SELECT hour, hour / {DAY_S} * {DAY_S} AS day, {kept} FROM hours WHERE hour < ? AND {within} AND hour >="
    )
    first_day, last_day = -(-since_s // DAY_S) * DAY_S, until_s // DAY_S * DAY_S
    if "hour" in by or first_day >= last_day:
        source = f"{of_hours} ?"
        values: list[float | str] = [until_s, *surfaces, since_s]
    else:
        of_days = f"SELECT 0, day, {kept} FROM days WHERE day < ? AND {within} AND day >= ?"
        # The days that are not added up yet are those after the last one that is.
        source = f"{of_hours} ? UNION ALL {of_days} UNION ALL {of_hours} max(?, min(?, {_ADDED_UP_UNTIL}))"
        values = [
            first_day,
            *surfaces,
            since_s,
            last_day,
            *surfaces,
            first_day,
            until_s,
            *surfaces,
            first_day,
            last_day,
        ]
    return f"SELECT {columns}, {sums} FROM ({source}) GROUP BY {columns} ORDER BY {columns}", values


def _table(name: str, column: str) -> str:
    """The table `name` of the totals of the periods that begin at `column`."""
    return f"""CREATE TABLE {name} (
        {column} INTEGER NOT NULL,
        surface TEXT NOT NULL,
        card TEXT NOT NULL,
        policy TEXT NOT NULL,
        key TEXT NOT NULL,
        requests INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        total_ms REAL NOT NULL,
        PRIMARY KEY ({column}, surface, card, policy, key)
    ) WITHOUT ROWID"""


def _count_new_record(table: str, column: str, period_s: int) -> str:
    """The body of a trigger that adds a new record to the totals of its period."""
    return f"""BEGIN
        INSERT INTO {table} VALUES (
            CAST(NEW.at / {period_s} AS INTEGER) * {period_s}, NEW.surface, ifnull(NEW.card, ''),
            ifnull(NEW.policy, ''), ifnull(NEW.key, ''), 1, NEW.status >= 400 OR NEW.error IS NOT NULL,
            ifnull(NEW.input_tokens, 0),
            ifnull(NEW.output_tokens, 0), ifnull(NEW.cost_usd, 0), NEW.total_ms
        ) ON CONFLICT ({column}, surface, card, policy, key) DO UPDATE SET
            requests = requests + 1,
            errors = errors + excluded.errors,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_usd = cost_usd + excluded.cost_usd,
            total_ms = total_ms + excluded.total_ms;
    END"""


MIGRATION = (
    _table("hours", "hour"),
    """INSERT INTO hours
        SELECT CAST(at / 3600 AS INTEGER) * 3600, surface, ifnull(card, ''), ifnull(policy, ''), ifnull(key, ''),
            count(*), sum(status >= 400 OR error IS NOT NULL), sum(ifnull(input_tokens, 0)),
            sum(ifnull(output_tokens, 0)), sum(ifnull(cost_usd, 0)), sum(total_ms)
        FROM records GROUP BY 1, 2, 3, 4, 5""",
    f"CREATE TRIGGER hours_of_new_records AFTER INSERT ON records {_count_new_record('hours', 'hour', HOUR_S)}",
)
"""The table, filled from the records that there are, and the trigger that keeps it up to date."""

DAYS_MIGRATION = (
    _table("days", "day"),
    f"""CREATE TRIGGER days_of_late_records AFTER INSERT ON records
        WHEN NEW.at < (SELECT max(day) + {DAY_S} FROM days) {_count_new_record("days", "day", DAY_S)}""",
)
"""The same by day. A day is added up by `ADD_UP` once it is over, so that a request costs no more than without; the
trigger counts records that arrive later. The oldest day counts in full until all of its hours are deleted.
"""

ADD_UP = f"""INSERT INTO days
    SELECT hour / {DAY_S} * {DAY_S}, {", ".join(_PLACES)}, {", ".join(f"sum({name})" for name in _SUMS)}
    FROM hours WHERE hour >= {_ADDED_UP_UNTIL} AND hour < ? GROUP BY 1, 2, 3, 4, 5"""
"""Adds up the days that end before the parameter, the beginning of a day in seconds since 1970."""

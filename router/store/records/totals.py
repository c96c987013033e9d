"""Totals of the records of an hour, which are kept beside the records so that no page reads them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

HOUR_S = 3600
Grouping = Literal["hour", "card", "policy", "key", "surface"]


class Totals(Struct, frozen=True):
    """The requests of one group. `group` has one value for each grouping that was asked for: the beginning of an hour,
    in seconds since 1970, or an id, empty where a request had no card, policy or key.

    `errors` of the `requests` failed; the other numbers are sums.
    """

    group: tuple[str | int, ...]
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    total_ms: float


def select(by: Sequence[Grouping], surfaces: int) -> str:
    """The query for totals, with the parameters since, until, and so many surfaces."""
    columns = ", ".join(by)
    sums = ("requests", "errors", "input_tokens", "output_tokens", "cost_usd", "total_ms")
    return (
        f"SELECT {columns}, {', '.join(f'sum({name})' for name in sums)} FROM hours WHERE hour >= ? AND hour < ? "
        f"AND surface IN ({', '.join('?' * surfaces)}) GROUP BY {columns} ORDER BY {columns}"
    )


MIGRATION = (
    """CREATE TABLE hours (
        hour INTEGER NOT NULL,
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
        PRIMARY KEY (hour, surface, card, policy, key)
    ) WITHOUT ROWID""",
    """INSERT INTO hours
        SELECT CAST(at / 3600 AS INTEGER) * 3600, surface, ifnull(card, ''), ifnull(policy, ''), ifnull(key, ''),
            count(*), sum(status >= 400 OR error IS NOT NULL), sum(ifnull(input_tokens, 0)),
            sum(ifnull(output_tokens, 0)), sum(ifnull(cost_usd, 0)), sum(total_ms)
        FROM records GROUP BY 1, 2, 3, 4, 5""",
    """CREATE TRIGGER hours_of_new_records AFTER INSERT ON records BEGIN
        INSERT INTO hours VALUES (
            CAST(NEW.at / 3600 AS INTEGER) * 3600, NEW.surface, ifnull(NEW.card, ''), ifnull(NEW.policy, ''),
            ifnull(NEW.key, ''), 1, NEW.status >= 400 OR NEW.error IS NOT NULL, ifnull(NEW.input_tokens, 0),
            ifnull(NEW.output_tokens, 0), ifnull(NEW.cost_usd, 0), NEW.total_ms
        ) ON CONFLICT (hour, surface, card, policy, key) DO UPDATE SET
            requests = requests + 1,
            errors = errors + excluded.errors,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_usd = cost_usd + excluded.cost_usd,
            total_ms = total_ms + excluded.total_ms;
    END""",
)
"""The table, filled from the records that there are, and the trigger that keeps it up to date."""

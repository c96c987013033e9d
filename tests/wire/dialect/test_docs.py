"""The documentation names every dialect."""

from __future__ import annotations

from pathlib import Path

from router.wire.dialect import SERVERS

PAGE = (Path(__file__).parents[3] / "docs" / "conversion.md").read_text(encoding="utf-8")


def test_every_dialect_is_in_the_table() -> None:
    table = PAGE.partition("| dialect | spoken by |")[2].partition("\n\n")[0]

    assert [name for name in SERVERS if f"`{name}`" not in table] == []

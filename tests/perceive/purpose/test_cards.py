"""What a card may state about examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cards.catalog import load_card
from router.errors import FileError

_CARD = "id: sql\nkind: adapter\nbase: base\nprovider: hosted_vllm\nmodel: sql\n"


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ('examples: [" "]', "examples: an example is a prompt, and one of these is blank"),
        ("not_examples: [Drop it]", "not_examples: only limit what `examples` say, and the card has none"),
        (f"examples: [{'x' * 4001}]", "examples"),
        (f"examples: [{', '.join(['x'] * 65)}]", "examples"),
    ],
    ids=["blank", "nothing to limit", "too long", "too many"],
)
def test_examples_that_cannot_be_used_are_refused_with_their_key(tmp_path: Path, stated: str, problem: str) -> None:
    file = tmp_path / "sql.yaml"
    file.write_text(f"{_CARD}{stated}\n")
    with pytest.raises(FileError, match=problem.replace("(", r"\(")):
        load_card(file)

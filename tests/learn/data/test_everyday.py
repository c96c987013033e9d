from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.cards.benchmarks import FAMILIES
from router.errors import FileError
from router.learn.data.everyday import load_graded

META: dict[str, Any] = {
    "name": "graded",
    "licence": "CC0-1.0",
    "strengths": {"small": ["a"], "frontier": ["b", "c"]},
    "families": {"sql": {"coding": 1}, "smalltalk": {}},
}
PROMPTS: tuple[dict[str, Any], ...] = (
    {"prompt_id": "1", "prompt": "hi", "domain": "smalltalk", "language": "en", "pair": "x"},
    {"prompt_id": "2", "prompt": "Schreibe eine Abfrage", "domain": "sql", "language": "de", "pair": "x"},
    {
        "prompt_id": "3",
        "domain": "sql",
        "messages": [
            {"role": "system", "content": "You know SQL."},
            {"role": "user", "content": "join two tables"},
            {"role": "assistant", "content": "which?"},
            {"role": "user", "content": "a and b"},
        ],
        "tools": [{"type": "function", "function": {"name": "run"}}],
    },
)


def written(folder: Path, meta: Any = None, prompts: tuple[dict[str, Any], ...] = PROMPTS) -> Path:
    text = meta if isinstance(meta, str) else json.dumps(META if meta is None else META | meta)
    (folder / "meta.json").write_text(text)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    rows = "".join(f"{row['prompt_id']},.9,.2\n" for row in prompts)
    (folder / "scores.csv").write_text(f"prompt_id,frontier,small\n{rows}")
    return folder


def family(name: str) -> int:
    return FAMILIES.index(name) - 1  # type: ignore[arg-type]


def test_the_columns_are_in_the_order_of_the_strengths(tmp_path: Path) -> None:
    graded = load_graded(written(tmp_path))
    assert graded.outcomes.models == ("small", "frontier")
    assert graded.strengths == (("a",), ("b", "c"))
    assert graded.outcomes.scores[0].tolist() == np.float32([0.2, 0.9]).tolist()


def test_families_follow_from_domain_and_language(tmp_path: Path) -> None:
    families = load_graded(written(tmp_path)).families
    assert families.shape == (3, len(FAMILIES) - 1)
    assert families[0].sum() == 0
    assert (families[1, family("coding")], families[1, family("languages")]) == (0.5, 0.5)
    assert families[2, family("coding")] == 1


def test_prompts_that_look_alike_are_pairs(tmp_path: Path) -> None:
    assert load_graded(written(tmp_path)).pairs == ((0, 1),)


def test_a_pair_of_one_is_none(tmp_path: Path) -> None:
    assert load_graded(written(tmp_path, prompts=PROMPTS[1:])).pairs == ()


def test_the_context_of_a_conversation_has_its_turns_and_tools(tmp_path: Path) -> None:
    single, _, conversation = load_graded(written(tmp_path)).contexts
    assert (single.characters, single.turns, single.tools) == (2, 1, False)
    assert conversation.tools
    assert conversation.turns > 1
    assert conversation.characters > len("join two tablesa and b")


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({"strengths": {"small": ["a"]}}, "strengths: expected frontier, small, as in scores.csv"),
        ({"strengths": {}}, "strengths: expected frontier, small"),
        ({"strengths": {"small": "a", "frontier": ["b"]}}, r"Expected `array`, got `str` - at `\$\.strengths"),
        ({"families": {"sql": {"codin": 1}}}, "Invalid enum value 'codin'"),
        ({"families": {"sql": {"coding": 2}}}, r"Expected `float` <= 1.0 - at `\$\.families"),
    ],
)
def test_the_error_of_a_bad_meta_json_names_file_and_key(tmp_path: Path, meta: Any, problem: str) -> None:
    with pytest.raises(FileError, match=rf"meta\.json.*{problem}"):
        load_graded(written(tmp_path, meta))


def test_the_error_names_the_line_of_a_domain_without_families(tmp_path: Path) -> None:
    unknown = {"prompt_id": "4", "prompt": "x", "domain": "poems"}
    with pytest.raises(FileError, match=r'prompts\.jsonl:4: domain: meta\.json has no families for "poems"'):
        load_graded(written(tmp_path, prompts=(*PROMPTS, unknown)))


def test_a_damaged_meta_json_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"meta\.json"):
        load_graded(written(tmp_path, "{"))

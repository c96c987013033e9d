from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.formats.yaml.file import read_yaml
from router.formats.yaml.writing import yaml_text


@pytest.mark.parametrize("is_flow", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        {"b": 1, "a": "é and 字"},
        {"a": "two\nlines\n", "b": ["x: y", "# no", "null", "7", None, 7, True]},
        {"a": "x\u2028y", "b\u2029c": ["\x85", " \u2028 z\n"]},
    ],
)
def test_what_is_written_is_read_as_the_same(tmp_path: Path, value: dict[str, Any], is_flow: bool) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(yaml_text(value, is_flow=is_flow), encoding="utf-8")
    found = read_yaml(file)[0]
    assert (found, [*found]) == (value, [*value])


def test_a_text_stays_readable() -> None:
    assert yaml_text({"b": "é and 字", "a": ["x"]}) == "b: é and 字\na:\n- x\n"
    assert yaml_text({"a": ["x", "y"]}, is_flow=True) == "{a: [x, y]}\n"

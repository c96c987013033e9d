from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import CallerError
from router.formats.yaml.edit import set_in_mapping, set_keys
from router.formats.yaml.file import read_yaml


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id: a\n", "id: a\nlineage: {state: promoted}\n"),
        ("id: a", "id: a\nlineage: {state: promoted}\n"),
        (
            "id: é # x\nlineage: {parents: [b]} # y\nz: 1\n",
            "id: é # x\nlineage: {state: promoted, parents: [b]} # y\nz: 1\n",
        ),
        (
            "lineage:\n  # y\n  state: 'ported'  # why\n  note: n\n",
            "lineage:\n  # y\n  state: promoted  # why\n  note: n\n",
        ),
        ("lineage:\n    # y\n    note: n\nid: a\n", "lineage:\n    # y\n    state: promoted\n    note: n\nid: a\n"),
        ("id: a\r\nlineage:\r\n  note: n\r\n", "id: a\r\nlineage:\r\n  state: promoted\r\n  note: n\r\n"),
        ("lineage:\nid: a\n", "lineage: {state: promoted}\nid: a\n"),
        ("lineage: null # y\n", "lineage: {state: promoted} # y\n"),
        ("lineage: {}\n", "lineage: {state: promoted}\n"),
        ("\ufeffid: a\n", "\ufeffid: a\nlineage: {state: promoted}\n"),
        (
            "id: x\u2028y # a\u2028lineage: {}\nlineage: {}\n",
            "id: x\u2028y # a\u2028lineage: {}\nlineage: {state: promoted}\n",
        ),
    ],
)
def test_only_the_value_changes(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "card.yaml"
    file.write_bytes(before.encode())
    set_in_mapping(file, "lineage", {"state": "promoted"})
    assert file.read_bytes().decode() == after
    assert read_yaml(file)[0]["lineage"]["state"] == "promoted"


@pytest.mark.parametrize("before", ["{id: a}\n", "id: a\nlineage: word\n", "id: a\n...\n"])
def test_a_style_that_cannot_be_edited_leaves_the_file_and_says_what_to_write(tmp_path: Path, before: str) -> None:
    file = tmp_path / "card.yaml"
    file.write_text(before)
    with pytest.raises(CallerError, match="write `state: promoted` under `lineage` by hand"):
        set_in_mapping(file, "lineage", {"state": "promoted"})
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id: a\n", "id: a\nslots: [a, b]\n"),
        ("id: a", "id: a\nslots: [a, b]\n"),
        ("slots: [a] # y\nz: 1\n", "slots: [a, b] # y\nz: 1\n"),
        ("slots:\n- a\n# of z\nz: 1\n", "slots: [a, b]\n# of z\nz: 1\n"),
        ("slots:  # in: order\n  - a\n  - c\nz: 1\n", "slots: [a, b]\nz: 1\n"),
        ("slots:\nz: 1\n", "slots: [a, b]\nz: 1\n"),
        ("id: é\r\nslots: []\r\n", "id: é\r\nslots: [a, b]\r\n"),
    ],
)
def test_a_key_is_set_as_one_line_and_the_others_stay(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "card.yaml"
    file.write_bytes(before.encode())
    set_keys(file, {"slots": ["a", "b"]})
    assert file.read_bytes().decode() == after
    assert read_yaml(file)[0]["slots"] == ["a", "b"]


def test_values_of_several_kinds_are_set_at_once(tmp_path: Path) -> None:
    file = tmp_path / "card.yaml"
    file.write_text("id: a\n")
    set_keys(file, {"base_url": "http://127.0.0.1:8080/v1", "adapters": {"server": "vllm", "slots": 8}})
    assert file.read_text() == "id: a\nbase_url: http://127.0.0.1:8080/v1\nadapters: {server: vllm, slots: 8}\n"


def test_keys_of_a_style_that_cannot_be_edited_leave_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "card.yaml"
    file.write_text("{id: a}\n")
    with pytest.raises(CallerError, match="write by hand"):
        set_keys(file, {"slots": ["a"]})
    assert file.read_text() == "{id: a}\n"

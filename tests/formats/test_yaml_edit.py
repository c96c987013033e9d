from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import CallerError
from router.formats.yaml_edit import set_in_mapping
from router.formats.yaml_file import read_yaml


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
    ],
)
def test_only_the_value_changes(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "card.yaml"
    file.write_bytes(before.encode())
    set_in_mapping(file, "lineage", "state", "promoted")
    assert file.read_bytes().decode() == after
    assert read_yaml(file)[0]["lineage"]["state"] == "promoted"


@pytest.mark.parametrize("before", ["{id: a}\n", "id: a\nlineage: word\n", "id: a\n...\n"])
def test_a_style_that_cannot_be_edited_leaves_the_file_and_says_what_to_write(tmp_path: Path, before: str) -> None:
    file = tmp_path / "card.yaml"
    file.write_text(before)
    with pytest.raises(CallerError, match="write `state: promoted` under `lineage` by hand"):
        set_in_mapping(file, "lineage", "state", "promoted")
    assert file.read_text() == before

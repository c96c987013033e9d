from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from router.errors import FileError
from router.formats.quantities import TokenCount
from router.formats.yaml.file import load, read_yaml


class Window(Struct, forbid_unknown_fields=True):
    tokens: TokenCount = TokenCount(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def read(file: Path, content: str | bytes) -> Any:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(file)[0]


def rejected(file: Path, content: str | bytes) -> tuple[int | None, str]:
    with pytest.raises(FileError) as caught:
        read(file, content)
    assert str(caught.value).startswith(str(file))
    return caught.value.line, caught.value.problem


def test_every_key_and_list_item_has_its_line(file: Path) -> None:
    file.write_text("a: 1\n\n# note\nb:\n  c: x\n  d: [1,\n      2]\n", encoding="utf-8")
    _, lines = read_yaml(file)
    found = {path: lines[path] for path in [("a",), ("b",), ("b", "c"), ("b", "d", 0), ("b", "d", 1)]}
    assert found == {("a",): 1, ("b",): 4, ("b", "c"): 5, ("b", "d", 0): 6, ("b", "d", 1): 7}


@pytest.mark.parametrize(
    "word", ["no", "off", "yes", "on", "y", "2025-03-14", "1:30", "0x10", "0o7", "1e", "=", ".inf"]
)
def test_a_scalar_that_only_yaml_1_1_gives_a_meaning_is_a_string(file: Path, word: str) -> None:
    assert read(file, f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("'7'", "7"),
        ('"true"', "true"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("[1, x]", [1, "x"]),
        ("{x: {y: 1}}", {"x": {"y": 1}}),
    ],
)
def test_the_core_schema_is_read(file: Path, written: str, value: Any) -> None:
    assert read(file, f"a: {written}") == {"a": value}


def test_a_key_is_a_string_whatever_it_looks_like(file: Path) -> None:
    assert read(file, "1: a\nno: b\n2025-01-01: c") == {"1": "a", "no": "b", "2025-01-01": "c"}


def test_an_integer_too_long_for_a_float_stays_a_string(file: Path) -> None:
    assert read(file, "a: " + "9" * 400) == {"a": "9" * 400}
    assert read(file, "a: " + "9" * 299) == {"a": int("9" * 299)}


@pytest.mark.parametrize("written", ["1e999", "-1e999", "9.9e308"])
def test_a_number_that_is_out_of_range_is_rejected_with_its_line_and_key(file: Path, written: str) -> None:
    problem = f"{written} is out of range; the greatest number is about 1.8e308"
    assert rejected(file, f"a: 1\nb:\n  c: {written}\n") == (3, f"b.c: {problem}")
    assert rejected(file, f"a:\n  - 1\n  - {written}\n") == (3, f"a.1: {problem}")
    assert rejected(file, written) == (1, problem)
    assert read(file, f"a: '{written}'") == {"a": written}


@pytest.mark.parametrize("content", ["", "\n", "# only a note\n", "---\n", "\ufeff"])
def test_a_file_without_content_is_read_as_none(file: Path, content: str) -> None:
    assert read(file, content) is None


def test_a_byte_order_mark_and_windows_line_ends_are_read(file: Path) -> None:
    assert read(file, "\ufeffa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


@pytest.mark.parametrize("old", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("a: x•y\n", {"a": "x•y"}),
        ("a: x • y\n", {"a": "x • y"}),
        ("a: 'x •  y'\n", {"a": "x •  y"}),
        ('a: "x •  y"\n', {"a": "x •  y"}),
        ("a: |\n  x•  y\n  z•\n", {"a": "x•  y\nz•\n"}),
        ("a: >\n  x•y\n  z\n", {"a": "x•y z\n"}),
        ("# note •a: 1\na: 2 # note •b: 1\n", {"a": 2}),
        ("x•y: 1\n", {"x•y": 1}),
        ("a: [x•, y]\n", {"a": ["x•", "y"]}),
        # A character that the text has already, or has by an escape, does not become a line break.
        ('a: "•\U0010ffff\\U0010fffe\U0010fffd"\n', {"a": "•\U0010ffff\U0010fffe\U0010fffd"}),
        ('a: "\\N\\L\\P•"\n', {"a": "\x85\u2028\u2029•"}),
    ],
)
def test_a_line_break_of_yaml_1_1_alone_is_a_character_as_any_other(
    file: Path, content: str, value: Any, old: str
) -> None:
    expected = json.loads(json.dumps(value, ensure_ascii=False).replace("•", old))
    assert read(file, content.replace("•", old)) == expected


@pytest.mark.parametrize("old", ["\x85", "\u2028", "\u2029"])
def test_lines_are_counted_without_the_line_breaks_of_yaml_1_1_alone(file: Path, old: str) -> None:
    assert rejected(file, f"# a{old}b\na: 'x{old}y'\na: 2\n") == (3, 'duplicate key "a" (first on line 2)')
    assert rejected(file, f"# a{old}b\nx: 1\na: x{old}b: 2\n")[0] == 3


def test_a_duplicate_key_is_rejected(file: Path) -> None:
    assert rejected(file, "a: 1\nb: 2\na: 3\n") == (3, 'duplicate key "a" (first on line 1)')
    assert rejected(file, "x:\n  a: 1\n  a: 2\n") == (3, 'duplicate key "a" (first on line 2)')


@pytest.mark.parametrize(
    ("content", "tag"),
    [
        ("a: !!python/object/apply:os.system [ls]", "!!python/object/apply:os.system"),
        ("a: !!python/name:os.system x", "!!python/name:os.system"),
        ("a: !thing x", "!thing"),
        ("a: !!binary aGk=", "!!binary"),
        ("a: !!str 5", "!!str"),
        ("!!set {a, b}", "!!set"),
        ("!thing a: 1", "!thing"),
    ],
)
def test_tags_are_rejected(file: Path, content: str, tag: str) -> None:
    assert rejected(file, content) == (1, f"the tag {tag} is not supported")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a: &x {b: 1}\n", 1),
        ("a: 1\nb: *x\n", 2),
        ("a: &x word\nb: *x\n", 1),
        ("a: &x [*x]\n", 1),
        ("base: &b {k: v}\nc:\n  <<: *b\n", 1),
    ],
)
def test_anchors_and_aliases_are_rejected(file: Path, content: str, line: int) -> None:
    assert rejected(file, content) == (line, "anchors and aliases are not supported; repeat the value instead")


def test_a_billion_laughs_are_rejected_at_the_first_anchor(file: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert rejected(file, "\n".join(["a0: &a0 [lol]", *levels]))[0] == 1


@pytest.mark.parametrize("content", ["[" * 100_000, "a: " + "{a: " * 50_000, "- " * 50_000 + "x", "? " * 50_000])
def test_deep_nesting_is_rejected_before_it_can_overflow_the_stack(file: Path, content: str) -> None:
    assert rejected(file, content)[1] == "is nested more than 50 levels deep"


def test_fifty_levels_are_read_and_one_more_is_rejected(file: Path) -> None:
    assert read(file, "[" * 50 + "]" * 50)
    assert rejected(file, "[" * 51 + "]" * 51)[0] == 1


def test_a_file_that_is_not_utf8_is_rejected_with_its_line(file: Path) -> None:
    assert rejected(file, b"a: 1\nb: caf\xe9\n") == (2, "is not UTF-8 (byte 11); save it as UTF-8")
    assert rejected(file, "a: 1".encode("utf-16"))[1].startswith("is not UTF-8")


def test_a_tab_in_the_indentation_is_rejected_with_its_line(file: Path) -> None:
    line, problem = rejected(file, "a:\n\tb: 1\n")
    assert line == 2
    assert problem.startswith("is not YAML: found ")


def test_a_control_character_is_rejected_with_its_line(file: Path) -> None:
    line, problem = rejected(file, "a: 1\nb: x\x00y\n")
    assert line == 2
    assert problem == "is not YAML: unacceptable character #x0000: control characters are not allowed"


@pytest.mark.parametrize(
    ("content", "line"),
    [("a: [1, 2", 1), ("a: 1\nb: 'x\n", 3), ("a: 1\n b: 2\n", 2), ("a: b: c", 1), ("a: 1\n---\nb: 2\n", 2), ("{", 1)],
)
def test_invalid_yaml_is_rejected_with_its_line(file: Path, content: str, line: int) -> None:
    found, problem = rejected(file, content)
    assert problem.startswith("is not YAML: ")
    assert found is not None
    assert abs(found - line) <= 1


def test_a_key_must_be_a_string(file: Path) -> None:
    assert rejected(file, "? [a, b]\n: 1\n") == (1, "a key must be a plain string")


def test_a_huge_file_is_rejected_without_parsing(file: Path) -> None:
    assert rejected(file, b"#" * 1_000_001) == (None, "is 1000001 bytes; larger files than 1000000 bytes are rejected")


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_yaml(file)
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        read_yaml(file.parent)


def test_a_file_is_read_as_a_struct_with_its_quantities_and_lines(file: Path) -> None:
    file.write_text("# note\ntokens: 8k\n", encoding="utf-8")
    assert load(file, Window, "a window") == (Window(TokenCount(8000)), {(): 2, ("tokens",): 2})


@pytest.mark.parametrize(
    ("content", "got"), [("", "nothing"), ("- a", "a list"), ("word", "a single value"), ("7", "a single value")]
)
def test_a_document_that_is_no_mapping_is_rejected(file: Path, content: str, got: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load(file, Window, "a window (keys and values)")
    assert (caught.value.line, caught.value.problem) == (1, f"expected a window (keys and values), got {got}")


def test_an_empty_file_may_stand_for_the_defaults(file: Path) -> None:
    file.write_text("# nothing yet\n", encoding="utf-8")
    assert load(file, Window, "a window", may_be_empty=True)[0] == Window()


class Named(Struct, forbid_unknown_fields=True):
    windows: Mapping[Annotated[str, Meta(pattern="^[a-z]$")], Mapping[str, Window] | None] = {}


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("windows:\n  a: {x: {tokens: 1}}\n  b:\n    y: {tokens: 1}\n    z: {tokens: no}\n", 5, "windows.b.z.tokens: "),
        ("windows:\n  a: {}\n  b:\n    z: {x: 1}\n", 4, 'windows.b.z: unknown key "x"'),
        ("windows:\n  a: {}\n  B: {}\n", 3, "windows.B: expected `str` matching regex"),
    ],
)
def test_an_error_inside_a_mapping_names_the_key_and_its_line(
    file: Path, content: str, line: int, problem: str
) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load(file, Named, "windows")
    assert caught.value.line == line
    assert caught.value.problem.startswith(problem)


def test_a_value_of_the_wrong_type_is_reported_at_its_line(file: Path) -> None:
    file.write_text("tokens:\n  - 8k\n", encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load(file, Window, "a window")
    assert (caught.value.line, caught.value.problem) == (1, "tokens: expected one value, got a list")

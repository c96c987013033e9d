from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from router.errors import FileError
from router.formats.yaml import document as yaml_document
from router.formats.yaml import parsed as yaml_parsed
from router.formats.yaml.file import read_yaml
from router.formats.yaml.parsed import remembered

TEXT = "id: a\nprice: {input: 1.5, output: 3}\ntags: [x, 'yes', no]\nempty:\n"


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    texts: list[str] = []
    parsed = yaml_document.parsed
    monkeypatch.setattr(yaml_document, "parsed", lambda text, file: texts.append(text) or parsed(text, file))
    return texts


def test_the_next_process_reads_the_same_without_parsing(tmp_path: Path, parses: list[str]) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    read = []
    for _ in range(2):
        with remembered(tmp_path / "cache" / "parsed"):
            read.append(read_yaml(tmp_path / "a.yaml"))
    assert read[0] == read[1]
    assert read[1][1][("price", "input")] == 2
    assert len(parses) == 1


def test_a_file_that_changed_is_parsed_again_and_its_mistakes_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    with remembered(tmp_path / "parsed"):
        read_yaml(tmp_path / "a.yaml")
        (tmp_path / "a.yaml").write_text(TEXT + "id: b\n")
        with pytest.raises(FileError, match=r"a\.yaml:5: duplicate key"):
            read_yaml(tmp_path / "a.yaml")


def test_a_number_that_cannot_be_kept_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"n: 1{'0' * 40}\n")
    for _ in range(2):
        with remembered(tmp_path / "parsed"):
            assert read_yaml(tmp_path / "a.yaml")[0] == {"n": 10**40}


@pytest.mark.parametrize("damaged", [b"", b"\x81", b"\x81\xa1a\xa1b", b"no"])
def test_a_damaged_cache_is_ignored(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "parsed").write_bytes(damaged)
    with remembered(tmp_path / "parsed"):
        assert read_yaml(tmp_path / "a.yaml")[0]["id"] == "a"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "file").write_text("")
    with remembered(tmp_path / "file" / "parsed"):
        assert read_yaml(tmp_path / "a.yaml")[0]["id"] == "a"


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_cache_that_others_can_write_is_not_believed(tmp_path: Path, parses: list[str], mode: int) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    for _ in range(2):
        with remembered(tmp_path / "parsed"):
            read_yaml(tmp_path / "a.yaml")
        assert (tmp_path / "parsed").stat().st_mode & 0o777 == 0o600
        (tmp_path / "parsed").chmod(mode)
    assert len(parses) == 2


def test_a_cache_of_another_user_is_not_believed(
    tmp_path: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    for user in (os.geteuid(), os.geteuid() + 1):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with remembered(tmp_path / "parsed"):
            read_yaml(tmp_path / "a.yaml")
    assert len(parses) == 2


def test_a_full_cache_keeps_what_was_read_last(
    tmp_path: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*names: str) -> None:
        with remembered(tmp_path / "cache"):
            for name in names:
                read_yaml(tmp_path / f"{name}.yaml")

    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(f"id: {name}\n")
    read("a", "b")
    contents = msgspec.msgpack.decode((tmp_path / "cache").read_bytes(), type=dict[str, msgspec.Raw])
    monkeypatch.setattr(yaml_parsed, "_MOST_BYTES", sum(len(memoryview(content)) for content in contents.values()))
    read("a", "c")
    assert len(parses) == 3
    read("a", "c")
    assert len(parses) == 3
    read("b")
    assert len(parses) == 4

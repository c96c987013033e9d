from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from router.errors import CallerError, ConfigurationError, FileError
from router.learn.onboarding.evidence_log import EvidenceLog, PendingProbe, earlier_outcomes, set_aside
from router.perceive.ability.evidence import ProbeOutcome, load_evidence

FIRST = ProbeOutcome("a", "sums", "1 + 1?", "number", 1.0, "2", "m-1", "2026-01-01T00:00:00+00:00", 12.5)
SECOND = msgspec.structs.replace(FIRST, probe="b", prompt="2 + 2?")


def test_an_appended_outcome_is_read_by_the_next_run(tmp_path: Path) -> None:
    with EvidenceLog(tmp_path / "new" / "folder", "m") as log:
        log.append(FIRST)
        assert load_evidence(tmp_path / "new" / "folder") == {"m": (FIRST,)}
    with EvidenceLog(tmp_path / "new" / "folder", "m") as log:
        assert log.outcomes == [FIRST]
        assert not log.repaired


@pytest.mark.parametrize("truncated", [b"", b'{"probe": "b", "dom'])
def test_a_file_that_ends_in_the_middle_of_a_line_is_repaired(truncated: bytes, tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    # Without `truncated`, only the newline is missing.
    file.write_bytes(msgspec.json.encode(FIRST) + (b"\n" + truncated if truncated else b""))
    with EvidenceLog(tmp_path, "m") as log:
        assert log.repaired == bool(truncated)
        log.append(SECOND)
    assert load_evidence(tmp_path) == {"m": (FIRST, SECOND)}


def test_a_damaged_file_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b"damage\n" + msgspec.json.encode(FIRST) + b"\n")
    before = file.read_bytes()
    with pytest.raises(FileError, match=r"m\.jsonl:1: is damaged"):
        EvidenceLog(tmp_path, "m")
    assert file.read_bytes() == before


def test_two_runs_of_one_card_cannot_write_at_the_same_time(tmp_path: Path) -> None:
    with EvidenceLog(tmp_path, "m"), pytest.raises(CallerError, match="another `route onboard`"):
        EvidenceLog(tmp_path, "m")
    with EvidenceLog(tmp_path, "m"), EvidenceLog(tmp_path, "other"):
        pass


def test_the_next_run_reads_the_calls_that_were_in_progress_at_a_crash(tmp_path: Path) -> None:
    sent = [PendingProbe("a", "1 + 1?", 0.5), PendingProbe("b", "2 + 2?", 0.25)]
    with EvidenceLog(tmp_path, "m") as log:
        log.begin(sent)
        log.append(FIRST)
    with EvidenceLog(tmp_path, "m") as log:
        assert list(log.unconfirmed.values()) == [sent[1]]
        log.append(SECOND)
        log.finish()
    with EvidenceLog(tmp_path, "m") as log:
        assert not log.unconfirmed


def test_a_probe_that_failed_may_be_asked_again(tmp_path: Path) -> None:
    with EvidenceLog(tmp_path, "m") as log:
        log.begin([PendingProbe("a", "1 + 1?", 0.5)])
        log.finish()
    with EvidenceLog(tmp_path, "m") as log:
        assert not log.unconfirmed


def test_a_run_without_answers_leaves_no_file(tmp_path: Path) -> None:
    with EvidenceLog(tmp_path, "m"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_evidence_is_archived_and_not_deleted(tmp_path: Path) -> None:
    assert set_aside(tmp_path, "m") is None
    with EvidenceLog(tmp_path, "m") as log:
        log.begin([PendingProbe("b", "2 + 2?", 0.5)])
        log.append(FIRST)
    archived = set_aside(tmp_path, "m")
    assert archived is not None
    assert archived.read_bytes() == msgspec.json.encode(FIRST) + b"\n"
    assert earlier_outcomes(tmp_path, "m") == {}
    with EvidenceLog(tmp_path, "m") as log:
        assert (log.outcomes, log.unconfirmed) == ([], {})


def test_an_archive_never_replaces_an_earlier_one(tmp_path: Path) -> None:
    archives = []
    for _ in range(3):
        with EvidenceLog(tmp_path, "m") as log:
            log.append(FIRST)
        archives.append(set_aside(tmp_path, "m"))
    assert len(set(archives)) == 3
    assert all(archive is not None and archive.read_bytes() for archive in archives)


def test_answers_are_not_archived_while_another_run_writes_them(tmp_path: Path) -> None:
    with EvidenceLog(tmp_path, "m") as log:
        log.append(FIRST)
        with pytest.raises(CallerError, match="another `route onboard` of this card is running"):
            set_aside(tmp_path, "m")


def test_the_error_names_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        EvidenceLog(tmp_path / "file", "m")


def test_the_error_names_a_damaged_list_of_pending_probes(tmp_path: Path) -> None:
    (tmp_path / "m.underway.json").write_text("{")
    with pytest.raises(FileError, match=r"m\.underway\.json: is damaged"):
        EvidenceLog(tmp_path, "m")

"""The writer of evidence files: a crash loses at most the calls in progress, and the next run asks nothing twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from router.errors import FileError
from router.formats.appended_file import AppendedFile
from router.formats.files import replace_file
from router.perceive.ability.evidence import ProbeOutcome, file_name, read_evidence

Key = tuple[str, str]
_USER = "`route onboard` of this card"


class PendingProbe(Struct, frozen=True):
    """A probe that was sent and is not answered yet, with its maximum cost."""

    probe: str
    prompt: str
    max_cost_usd: float = field(name="worst_usd")

    @property
    def key(self) -> Key:
        """The probe's id and text, as in the key of an outcome."""
        return self.probe, self.prompt


class EvidenceLog(AppendedFile):
    """The evidence file of one card, open for appending and locked for other processes.

    `outcomes` are those in the file, `unconfirmed` the probes that were being asked when an earlier run was killed:
    they may have been charged, and their answers are lost. `repaired` is whether a truncated line at the end of the
    file was removed.

    Raises CallerError where another run writes the file, FileError where it is damaged, ConfigurationError where it
    cannot be written.
    """

    def __init__(self, folder: Path, card: str) -> None:
        super().__init__(folder / file_name(card), _USER)
        self._pending_file = self.file.with_suffix(".underway.json")
        try:
            self.outcomes, self.repaired = self._read()
            self.unconfirmed: dict[Key, PendingProbe] = {probe.key: probe for probe in self._read_pending()}
        except BaseException:
            self._stream.close()
            raise
        for outcome in self.outcomes:
            self.unconfirmed.pop(outcome.key, None)

    def begin(self, batch: Iterable[PendingProbe]) -> None:
        """Record the probes that are about to be sent; the record is on the disk when this returns."""
        self._write_pending({**self.unconfirmed, **{probe.key: probe for probe in batch}}.values())

    def append(self, outcome: ProbeOutcome) -> None:
        """Append an outcome; it is on the disk when this returns."""
        self._append(msgspec.json.encode(outcome) + b"\n")
        self.outcomes.append(outcome)
        self.unconfirmed.pop(outcome.key, None)

    def finish(self) -> None:
        """Record that no call is in progress: a probe of the batch without an outcome may be asked again."""
        if self.unconfirmed:
            self._write_pending(self.unconfirmed.values())
        else:
            self._pending_file.unlink(missing_ok=True)

    def _read(self) -> tuple[list[ProbeOutcome], bool]:
        read = read_evidence(self.file)
        size = self.file.stat().st_size
        if read.truncated_bytes:
            self._stream.truncate(size - read.truncated_bytes)
        is_unfinished = size and not read.truncated_bytes and not self._ends_in_newline(size)
        self._append(b"\n" if is_unfinished else b"")
        return list(read.outcomes), read.truncated_bytes > 0

    def _ends_in_newline(self, size: int) -> bool:
        with self.file.open("rb") as stream:
            stream.seek(size - 1)
            return stream.read(1) == b"\n"

    def _read_pending(self) -> list[PendingProbe]:
        try:
            return msgspec.json.decode(self._pending_file.read_bytes(), type=list[PendingProbe])
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(str(self._pending_file), None, f"is damaged: {error}; delete it to continue") from None

    def _write_pending(self, pending: Iterable[PendingProbe]) -> None:
        # A crash leaves the old list or the new one.
        replace_file(self._pending_file, msgspec.json.encode(list(pending)))


def earlier_outcomes(folder: Path, card: str) -> Mapping[Key, ProbeOutcome]:
    """The outcomes in the evidence file of `card`, which is not opened for writing."""
    return {outcome.key: outcome for outcome in read_evidence(folder / file_name(card)).outcomes}


def set_aside(folder: Path, card: str) -> Path | None:
    """Rename the evidence file of `card` to `….jsonl.old`, or `….jsonl.old2` and so on where that exists; None where
    there are no answers.

    Raises CallerError where another run writes the file, ConfigurationError where it cannot be written.
    """
    with AppendedFile(folder / file_name(card), _USER) as log:
        log.file.with_suffix(".underway.json").unlink(missing_ok=True)
        if not log.file.stat().st_size:
            return None
        numbers = itertools.chain(("",), itertools.count(2))
        places = (log.file.with_suffix(f".jsonl.old{number}") for number in numbers)
        return log.file.replace(next(place for place in places if not place.exists()))

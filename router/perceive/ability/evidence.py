"""Evidence on cards: outcomes of probes, from which a predictor computes a card's ability.

They are stored in one file per card, `evidence/<card id>.jsonl`, one JSON line per outcome. In file names, characters
of a card id are escaped as in a URL (`/` is `%2F`). `router.learn.onboarding` writes these files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta, Struct

from router.errors import FileError, did_you_mean

_SUFFIX = ".jsonl"

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class ProbeOutcome(Struct, frozen=True, omit_defaults=True):
    """A card's answer to one probe, graded: `score` is in [0, 1]. None is what the endpoint did not report.

    `prompt` is the probe's text, stored so that any predictor can compute its features; `answer` the end of the answer,
    shortened; `model` the upstream's name of the model; `time` when the answer was complete, in UTC; `cut_off` whether
    the answer ended at the token limit.
    """

    probe: str
    domain: str
    prompt: str
    grader: str
    score: Annotated[float, Meta(ge=0, le=1)]
    answer: str
    model: str
    time: str
    latency_ms: Amount
    ttft_ms: Amount | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost_usd: Amount | None = None
    cut_off: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the probe: its id and its text, since another edition of a probe set may change the text."""
        return self.probe, self.prompt


class EvidenceFile(Struct, frozen=True):
    """The outcomes in a file. `truncated_bytes` is the length of an incomplete last line, 0 if there is none."""

    outcomes: tuple[ProbeOutcome, ...]
    truncated_bytes: int = 0


_DECODER = msgspec.json.Decoder(ProbeOutcome)
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(ProbeOutcome))


def file_name(card: str) -> str:
    """The name of the evidence file of the card with this id."""
    return quote(card, safe="") + _SUFFIX


def parse_evidence(raw: bytes, origin: str) -> EvidenceFile:
    """The outcomes in the bytes of an evidence file; `origin` is its name in messages.

    A last line that does not parse and has no newline was truncated by a crash, and is left out. Raises FileError with
    the line number for any other damage.
    """
    *complete, last = raw.split(b"\n")
    outcomes = [_outcome(line, origin, number) for number, line in enumerate(complete, start=1) if line.strip()]
    if not last.strip():
        return EvidenceFile(tuple(outcomes))
    try:
        outcomes.append(_DECODER.decode(last))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return EvidenceFile(tuple(outcomes), len(last))
    return EvidenceFile(tuple(outcomes))


def read_evidence(file: Path) -> EvidenceFile:
    """The outcomes in `file`, none if it does not exist. Raises FileError."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return EvidenceFile(())
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    return parse_evidence(raw, str(file))


def load_evidence(folder: Path) -> dict[str, tuple[ProbeOutcome, ...]]:
    """Outcomes of probes by card id, oldest first; the ids are sorted. Empty if there is no such folder.

    If a probe was answered twice, its latest outcome counts. A truncated last line is left out with a warning.
    Raises FileError with file and line if a file is damaged.
    """
    if not folder.is_dir():
        return {}
    outcomes: dict[str, tuple[ProbeOutcome, ...]] = {}
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        content = read_evidence(file)
        if content.truncated_bytes:
            # Imported here, since a decision on the command line needs it for nothing else.
            import logging

            logging.getLogger(__name__).warning(
                "%s: the last line is incomplete and was left out; `route onboard` repairs the file", file
            )
        latest = {outcome.key: outcome for outcome in content.outcomes}
        if latest:
            outcomes[unquote(file.name.removesuffix(_SUFFIX))] = tuple(latest.values())
    return outcomes


def without_card(evidence: Iterable[str], cards: Iterable[str]) -> tuple[str, ...]:
    """The ids in `evidence` that no card has, sorted."""
    return tuple(sorted(set(evidence) - set(cards)))


def _outcome(line: bytes, origin: str, number: int) -> ProbeOutcome:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(origin, number, f"is damaged: {error}{_hint(line)}; delete the line to continue") from None


def _hint(line: bytes) -> str:
    """A hint if an unknown key is similar to a known one; empty otherwise."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    unknown = [key for key in row if key not in _FIELDS] if isinstance(row, dict) else []
    return did_you_mean(unknown[0], _FIELDS) if unknown else ""

"""Evidence: what cards answered to probes, one JSON line an outcome, one file a card: `evidence/<card id>.jsonl`.

A predictor places a card by it. Signs of a card's id that file names do without stand there as in a URL (`/` is `%2F`).
`router.learn.onboarding.session` writes these files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta, Struct

from router.errors import FileError, did_you_mean

_LOG = logging.getLogger(__name__)
_SUFFIX = ".jsonl"

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class ProbeOutcome(Struct, frozen=True, omit_defaults=True):
    """How a card answered one probe. `score` is in [0, 1]; None is what the endpoint did not tell.

    `prompt` is the probe's text, with which any predictor can place it; `answer` the end of the reply, shortened;
    `model` what the upstream calls the model; `time` when the answer was there, in UTC; `cut_off` whether the reply
    ended at the limit of tokens.
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
        """What tells a probe from others: its id and its text, for a set's next edition may word it anew."""
        return self.probe, self.prompt


class EvidenceFile(Struct, frozen=True):
    """The outcomes in a file. `torn` is how many bytes at its end begin a line that was never finished."""

    outcomes: tuple[ProbeOutcome, ...]
    torn: int = 0


_DECODER = msgspec.json.Decoder(ProbeOutcome)
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(ProbeOutcome))


def file_name(card: str) -> str:
    """The name of the evidence file of the card with this id."""
    return quote(card, safe="") + _SUFFIX


def parse_evidence(raw: bytes, origin: str) -> EvidenceFile:
    """The outcomes in the bytes of an evidence file; `origin` is its name in messages.

    A last line without an end that does not parse was torn by a crash, and is left out. Raises FileError naming the
    line for anything else that is damaged.
    """
    *whole, last = raw.split(b"\n")
    outcomes = [_outcome(line, origin, number) for number, line in enumerate(whole, start=1) if line.strip()]
    if not last.strip():
        return EvidenceFile(tuple(outcomes))
    try:
        outcomes.append(_DECODER.decode(last))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return EvidenceFile(tuple(outcomes), len(last))
    return EvidenceFile(tuple(outcomes))


def read_evidence(file: Path) -> EvidenceFile:
    """The outcomes in `file`, none where it does not exist. Raises FileError."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return EvidenceFile(())
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    return parse_evidence(raw, str(file))


def load_evidence(folder: Path) -> dict[str, tuple[ProbeOutcome, ...]]:
    """Every card's outcomes in `folder`, oldest first, by card id in order; empty where there is no such folder.

    A probe that was answered twice counts once, by its latest outcome. A torn last line is left out with a warning.
    Raises FileError naming file and line where a file is damaged.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, tuple[ProbeOutcome, ...]] = {}
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        read = read_evidence(file)
        if read.torn:
            _LOG.warning("%s: the last line was never finished and is left out; `route onboard` mends it", file)
        latest = {outcome.key: outcome for outcome in read.outcomes}
        if latest:
            found[unquote(file.name.removesuffix(_SUFFIX))] = tuple(latest.values())
    return found


def without_card(evidence: Iterable[str], cards: Iterable[str]) -> tuple[str, ...]:
    """The ids that evidence is kept of though no card has them."""
    return tuple(sorted(set(evidence) - set(cards)))


def _outcome(line: bytes, origin: str, number: int) -> ProbeOutcome:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(origin, number, f"is damaged: {error}{_slip(line)}; delete the line to go on") from None


def _slip(line: bytes) -> str:
    """A hint where a key is nearly one that is missing."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    strange = [key for key in row if key not in _FIELDS] if isinstance(row, dict) else []
    return did_you_mean(strange[0], _FIELDS) if strange else ""

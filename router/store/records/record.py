"""The record of one request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.perceive.memory.corrections import Correction
from router.trials import CanaryChoice, ExperimentChoice, Exploration
from router.types import UNKNOWN_DEPENDENCE, Outcome, PlanOutlook


class PartRecord(Struct, frozen=True, omit_defaults=True):
    """The features of one task of a prompt: `vector` as that of the decision, `input_tokens`, and the corrections."""

    vector: bytes
    input_tokens: int
    corrections: tuple[Correction, ...] = ()


class DecisionRecord(
    Struct,
    frozen=True,
    omit_defaults=True,
    # Names in the journal and the database, which earlier releases wrote.
    rename={"policy_hash": "settings", "conversation_card": "kept"},
):
    """A decision and its inputs, so that it can be replayed.

    `catalogue`, `policy_hash` and `unavailable` are fingerprints of snapshots: of the cards with their probe outcomes,
    of the policy, and of the reasons why cards could not be called (empty if all could). `artifact` and `release` made
    the decision. `day` is the ISO date that card ages were counted from, empty if no age mattered. `conversation_card`
    is the card that answered the conversation before. `vector` is `Features.vector` as little-endian float32.
    `dependence` is that of the newest turn on what went before it. `reader` is `Features.reader`.
    `quality`, `quality_std`, `cost_usd` and `latency_ms` are the forecast for the chosen card or plan. `plans` is the
    fingerprint of the snapshot of the plans that were compared, `named_plan` the id of the one that the client named,
    `plan` what was expected of the chosen one. `indivisible` and `parts` are those of `Features`,
    `load` is that of `RequestContext` where a goal weighed it. `canaries` are those that the request could go to,
    `canary` whether one took it, or could have. `is_batch`: the request was marked as one that can wait. `hidden` are
    the cards of other keys that the plans name, which were therefore not compared. `memory` is the version of the error
    memory, and `corrections` what it changed in the forecasts. `exploration` is there where the policy explores: with
    which probability each candidate answered. `experiment` is the arm of the request, if it has one.
    """

    policy: str
    policy_hash: str
    flags: str
    artifact: str
    catalogue: str
    unavailable: str
    day: str
    card: str
    fallbacks: tuple[str, ...]
    guard: str
    quality: float
    quality_std: float
    cost_usd: float | None
    latency_ms: float | None
    vector: bytes
    input_tokens: int
    modalities: tuple[str, ...] = ("text",)
    needs: tuple[str, ...] = ()
    output_limit: int | None = None
    thinking_scale: float = 1.0
    conversation_card: str | None = None
    dependence: float = UNKNOWN_DEPENDENCE
    release: str = ""
    reader: str = ""
    plans: str = ""
    named_plan: str | None = None
    plan: PlanOutlook | None = None
    indivisible: tuple[str, ...] = ()
    parts: tuple[PartRecord, ...] = ()
    load: tuple[tuple[str, float], ...] = ()
    canaries: tuple[str, ...] = ()
    canary: CanaryChoice | None = None
    is_batch: bool = False
    hidden: tuple[str, ...] = ()
    memory: str = ""
    corrections: tuple[Correction, ...] = ()
    exploration: Exploration | None = None
    experiment: ExperimentChoice | None = None


class Side(Struct, frozen=True, omit_defaults=True):
    """One of two answers to a request, without its text.

    `characters` is the length of the text. `schema` is whether it meets the JSON schema of the request, None where the
    request has none or it cannot be checked; `grade` the mean of what the graders of the policy say, in [0, 1], None
    without any.
    """

    card: str
    characters: int
    total_ms: float
    output_tokens: int | None = None
    cost_usd: float | None = None
    refused: bool = False
    schema: bool | None = None
    grade: float | None = None


class ShadowRecord(Struct, frozen=True, omit_defaults=True):
    """An answer that no client got, beside the one that a client did.

    `of` is the id of the client's request, `policy` the id of the policy that asked for the comparison. `same` is
    whether both have the same final answer, None where either has none that can be compared. `second` is the answer for
    nobody; it and `same` are None where there is none.
    """

    of: str
    policy: str
    first: Side
    second: Side | None = None
    same: bool | None = None


class Record(Struct, frozen=True, omit_defaults=True):
    """One request and its outcome.

    `id` is unique; of two records with the same id the first is stored. `at` is in seconds since 1970, UTC. `asked` is
    the `model` that the client requested. `key` is the id of the client's key, never the key itself. `decision` is None
    if the client named the card. `prompt` is the request's body, present only if recording of prompts is enabled.
    `client` is the client's address, which is not stored. `shadow` is set where the answer is for nobody.
    """

    id: str
    at: float
    surface: str
    asked: str
    stream: bool
    outcome: Outcome
    key: str | None = None
    session: str | None = None
    decision: DecisionRecord | None = None
    prompt: bytes | None = None
    client: str | None = None
    shadow: ShadowRecord | None = None


class Snapshot(Struct, frozen=True):
    """An input shared by many decisions, stored once: JSON, compressed in `content`, hashed in `fingerprint`."""

    fingerprint: str
    content: bytes


class Entry(Struct, frozen=True, omit_defaults=True):
    """A line of the journal: either a record or a snapshot."""

    record: Record | None = None
    snapshot: Snapshot | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def write_entry(entry: Entry) -> bytes:
    """`entry` as one line of JSON, including the newline."""
    try:
        return _ENCODER.encode(entry) + b"\n"
    except UnicodeEncodeError:
        # A client may send half a surrogate pair. Its request was answered, so it is recorded with a replacement.
        return _ENCODER.encode(_encodable(msgspec.to_builtins(entry))) + b"\n"


def read_entry(line: bytes) -> Entry:
    """The inverse of `write_entry`. Raises ValueError (such as msgspec's DecodeError) for a damaged line."""
    return _DECODER.decode(line)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {key: _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value

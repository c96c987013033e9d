"""One request as the store remembers it."""

from __future__ import annotations

from msgspec import Struct

from router.types import Outcome


class Recorded(Struct, frozen=True, omit_defaults=True):
    """What a decision was made from and what it was, so that it can be made again.

    `vector` holds the little-endian float32 of `Features.vector`. `catalogue`, `settings` and `unavailable` name
    snapshots by their fingerprints: the cards and what probes told of them, the policy, and why cards could not be
    called.
    """

    policy: str
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
    kept: str | None = None


class Record(Struct, frozen=True, omit_defaults=True):
    """One request, and what came of it.

    `at` is in seconds since 1970, UTC. `asked` is the client's `model`. `key` is the id of the client's key, never
    the key. `prompt` is the request's body, and only there where prompts are asked for.
    """

    id: str
    at: float
    surface: str
    asked: str
    stream: bool
    outcome: Outcome
    key: str | None = None
    session: str | None = None
    decision: Recorded | None = None
    prompt: bytes | None = None

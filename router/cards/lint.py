"""The completeness of a card, and hints about facts that the predictor ignores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from router.cards.benchmarks import BENCHMARKS, near_miss
from router.cards.schema import Card
from router.formats.units import show_bytes

_ADAPTER_DIALECTS = frozenset({"vllm", "sglang"})


class LintReport(Struct, frozen=True):
    """The result of checking one card.

    `completeness` is the weighted share, in [0, 1], of the facts that the card states; `missing` are the others.
    `hints` are sentences about stated facts that are ignored.
    """

    card: str
    completeness: float
    missing: tuple[str, ...]
    hints: tuple[str, ...] = ()


# Each fact with its weight and a test whether a card states it. Facts that limits and goals use weigh most.
_FACTS: Mapping[str, tuple[int, Callable[[Card], bool]]] = {
    "context": (3, lambda card: card.context_tokens is not None),
    "price": (3, lambda card: card.price is not None),
    "capabilities": (3, lambda card: card.capabilities is not None),
    "privacy": (2, lambda card: card.privacy is not None),
    "released": (2, lambda card: card.released is not None),
    "weights": (2, lambda card: card.weights is not None),
    "source": (2, lambda card: card.source is not None),
    "benchmarks": (2, lambda card: any(name in BENCHMARKS for name in card.benchmarks)),
    "max_output": (1, lambda card: card.max_output_tokens is not None),
    "family": (1, lambda card: card.family is not None),
    "latency": (1, lambda card: card.latency is not None),
    "languages": (1, lambda card: bool(card.languages)),
    "size": (3, lambda card: card.size is not None or card.weights == "closed"),
    "license": (2, lambda card: card.license is not None or card.weights == "closed"),
    "lora": (2, lambda card: card.lora is not None or card.kind == "model"),
    "good_for": (2, lambda card: bool(card.good_for or card.examples) or card.kind == "model"),
}


def lint(card: Card) -> LintReport:
    """Check one card. A fact that does not apply (the size of closed weights) counts as stated."""
    stated = {name for name, (_, present) in _FACTS.items() if present(card)}
    total = sum(weight for weight, _ in _FACTS.values())
    reached = sum(weight for name, (weight, _) in _FACTS.items() if name in stated)
    missing = tuple(name for name in _FACTS if name not in stated)
    return LintReport(card.id, round(reached / total, 3), missing, _hints(card))


def _hints(card: Card) -> tuple[str, ...]:
    near = {name: near_miss(name) for name in card.benchmarks}
    unknown = tuple(
        f'unknown benchmark "{name}" (ignored by the predictor); did you mean "{known}"?'
        for name, known in near.items()
        if known
    )
    return (*unknown, *_fit_hints(card), *_serving_hints(card))


def _serving_hints(card: Card) -> Iterator[str]:
    """What keeps the gateway from loading an adapter that it manages."""
    stated = card.adapters
    if stated is None or not stated.loads:
        return
    if card.kind == "adapter" and card.dispatchable and (card.lora is None or card.lora.path is None):
        yield (
            f"lora.path is missing: where {stated.server} finds the weights, as its server sees it; without it, the "
            "adapter is called only where the server has it already"
        )
    if card.dialect is not None and card.dialect in _ADAPTER_DIALECTS and card.dialect != stated.server:
        yield f"adapters.server is {stated.server}, and `dialect` is {card.dialect}; is one of them wrong?"


def _fit_hints(card: Card) -> Iterator[str]:
    """That the weights alone need more memory than the machine has: one of the two is stated wrongly, or it is slow."""
    if card.arch is None or card.hardware is None:
        return
    weights, memory = card.arch.weight_bytes, card.hardware.memory_bytes
    if weights > memory:
        yield (
            f"hardware: the weights take {show_bytes(weights)}, its memory is {show_bytes(memory)}; is the `count` of "
            "accelerators missing, or `bits` of `arch`?"
        )

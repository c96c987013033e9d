"""What time and memory a model needs on a machine, for `route cards arch`."""

from __future__ import annotations

from msgspec import Struct

from router.cards.machine.columns import machines_of
from router.cards.machine.facts import Arch, Hardware
from router.cards.schema import Card
from router.errors import CallerError
from router.formats import units
from router.perceive.roofline import memory_bytes, time_per_token_ms, time_to_first_token_ms


class Estimate(Struct, frozen=True):
    """The time and memory of one sequence of `context_tokens`, at full efficiency."""

    accelerator: str
    context_tokens: int
    ttft_ms: float
    tpot_ms: float
    needed_bytes: float
    memory_bytes: float

    def __str__(self) -> str:
        show, show_ms = units.show_bytes, units.show_milliseconds
        fits = "" if self.needed_bytes <= self.memory_bytes else ", so it does not fit"
        return (
            f"{self.accelerator}, {self.context_tokens:,} tokens of context: {show_ms(self.ttft_ms)} to the first token"
            f", {show_ms(self.tpot_ms)} per further token; needs {show(self.needed_bytes)} of "
            f"{show(self.memory_bytes)}{fits}"
        )


def estimate_on(accelerator: str, arch: Arch, context: str) -> Estimate:
    """The estimate for a model of this shape.

    Raises CallerError for an unknown accelerator, and for a context that is no number of tokens.
    """
    try:
        hardware, tokens = Hardware(name=accelerator), units.tokens(context)
    except ValueError as error:
        raise CallerError(str(error)) from None
    machines = machines_of([Card(id="model", provider="", model="", arch=arch, hardware=hardware)])
    return Estimate(
        accelerator=accelerator,
        context_tokens=tokens,
        ttft_ms=round(float(time_to_first_token_ms(machines, tokens)[0]), 3),
        tpot_ms=round(float(time_per_token_ms(machines, tokens)[0]), 3),
        needed_bytes=float(memory_bytes(machines, tokens)[0]),
        memory_bytes=hardware.memory_bytes,
    )

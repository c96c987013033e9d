"""The cells of the wall: every fault, whole and streamed, on both surfaces, with a healthy candidate left or none."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from tests.faults.faults import COMPLETE, CUT, FAULTS, Fault, Outcome, Protocol
from tests.faults.surfaces import Surface


class Cell(Struct, frozen=True):
    """One case. `upstream` is the protocol that its candidates speak."""

    fault: Fault
    stream: bool
    surface: Surface
    healthy_left: bool
    upstream: Protocol

    @property
    def name(self) -> str:
        """Fit for an id, a tag and a path."""
        how = "stream" if self.stream else "whole"
        left = "healthy-left" if self.healthy_left else "none-left"
        return f"{self.fault.name}.{how}.{self.surface}.{left}.{self.upstream}"

    @property
    def expected(self) -> Outcome:
        """What the client must see."""
        alone = self.fault.stream if self.stream else self.fault.whole
        return COMPLETE if self.healthy_left and alone != CUT else alone


def cells(faults: Iterable[Fault] = FAULTS, upstreams: Iterable[Protocol] = ("chat", "messages")) -> tuple[Cell, ...]:
    """The whole wall."""
    surfaces: tuple[Surface, ...] = ("openai", "anthropic")
    return tuple(
        Cell(fault, stream, surface, healthy_left, upstream)
        for fault in faults
        for upstream in upstreams
        if upstream in fault.upstreams
        for surface in surfaces
        for stream in (False, True)
        for healthy_left in (True, False)
    )

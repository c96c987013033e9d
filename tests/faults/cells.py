"""The cells of the fault matrix: every fault, with and without streaming, surface, and fallback."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from tests.faults.faults import COMPLETE, CUT, FAULTS, Fault, Outcome, Protocol
from tests.faults.surfaces import Surface


class Cell(Struct, frozen=True):
    """One case. `upstream` is the protocol of its candidates."""

    fault: Fault
    stream: bool
    surface: Surface
    healthy_left: bool
    upstream: Protocol

    @property
    def name(self) -> str:
        """Valid as an id, a tag and a path."""
        how = "stream" if self.stream else "whole"
        left = "healthy-left" if self.healthy_left else "none-left"
        return f"{self.fault.name}.{how}.{self.surface}.{left}.{self.upstream}"

    @property
    def expected(self) -> Outcome:
        """The expected outcome for the client."""
        without_fallback = self.fault.stream if self.stream else self.fault.whole
        return COMPLETE if self.healthy_left and without_fallback != CUT else without_fallback

    @property
    def needs_fallback(self) -> bool:
        """Whether the healthy candidate must have been called."""
        return self.healthy_left and not self.fault.harmless and self.expected == COMPLETE


def cells(faults: Iterable[Fault] = FAULTS, upstreams: Iterable[Protocol] = ("chat", "messages")) -> tuple[Cell, ...]:
    """All cells of the fault matrix."""
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


def hangs(cell: Cell) -> bool:
    """Whether its upstream keeps the gateway waiting until a timeout."""
    return cell.fault.name.startswith("hangs-")

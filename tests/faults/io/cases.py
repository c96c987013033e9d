"""Which call fails how: the cases of each phase, and how a sample of them is taken."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from tests.faults.io.shim import DISK, LIKELY_ERRORS, Operation, Shim


class Case(Struct, frozen=True):
    """The `first` call (from 1) of `operations` and `times` - 1 after it (-1: all) fail with `error`; see `Shim`."""

    operations: tuple[Operation, ...]
    first: int
    error: int
    times: int = 1
    short: bool = False

    def __str__(self) -> str:
        names = "+".join(operation.name.lower() for operation in self.operations)
        kind = f"{errno.errorcode[self.error].lower()}-x{self.times}{'-short' if self.short else ''}"
        return f"{names}-{self.first}-{kind}"

    def is_over(self, shim: Shim) -> bool:
        """Whether all calls that should fail have failed."""
        return 0 < self.times <= shim.failed

    def arm(self, shim: Shim) -> None:
        """Let it happen from now on."""
        shim.arm(self.operations, self.first, self.error, self.times, short=self.short)


def cases(calls: Mapping[Operation, int]) -> Iterator[Case]:
    """Every case of a phase that makes so many `calls`: single failures, several, all from there on, short writes."""
    for operation, count in calls.items():
        for first in range(1, count + 1):
            for error in LIKELY_ERRORS[operation]:
                yield Case((operation,), first, error)
                yield Case((operation,), first, error, 3)
                yield Case((operation,), first, error, -1)
                if operation in (Operation.WRITE, Operation.LOG):
                    yield Case((operation,), first, error, 1, short=True)
                    yield Case((operation,), first, error, 2, short=True)
    for first in range(1, calls.get(Operation.WRITE, 0) + 1, 2):
        yield Case(DISK, first, errno.ENOSPC, -1)
        yield Case(DISK, first, errno.ENOSPC, -1, short=True)
        # A part of a line that cannot be removed either.
        yield Case((Operation.WRITE, Operation.TRUNCATE), first, errno.EIO, 3, short=True)


def sample(all_cases: Iterable[Case], count: int) -> list[Case]:
    """`count` cases, the same in every run."""
    known = list(all_cases)
    return random.Random(12).sample(known, min(count, len(known)))


# How many calls a phase makes at most, with a margin.
REQUEST = {
    Operation.OPEN: 3, Operation.WRITE: 24, Operation.SYNC: 2, Operation.UNLINK: 2, Operation.TRUNCATE: 2,
    Operation.CONNECT: 2, Operation.LOG: 2, Operation.READ: 3,
}  # fmt: skip
START = {
    Operation.OPEN: 32, Operation.READ: 25, Operation.WRITE: 70, Operation.SYNC: 20, Operation.UNLINK: 4,
    Operation.TRUNCATE: 2, Operation.LOG: 2,
}  # fmt: skip
RELOAD = {Operation.OPEN: 8, Operation.READ: 10}
DRAIN = {
    Operation.OPEN: 4, Operation.READ: 16, Operation.WRITE: 40, Operation.SYNC: 3, Operation.UNLINK: 6,
    Operation.TRUNCATE: 3, Operation.LOG: 2,
}  # fmt: skip
KEYS = {
    Operation.OPEN: 6,
    Operation.READ: 6,
    Operation.WRITE: 2,
    Operation.SYNC: 1,
    Operation.RENAME: 1,
    Operation.LOG: 2,
}

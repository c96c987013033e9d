"""Where the long parts of learning run: in this process, or on the workers of a Ray cluster.

A command splits its work into units, such as folds or batches of prompts. A unit depends on its item alone, and the
results come in the order of the items, so that every engine gives the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from router.errors import CallerError, did_you_mean
from router.learn.progress import MIN_ITEMS, tracked

T = TypeVar("T")
Arrays = tuple[NDArray[Any], ...]
"""The result of a unit."""


class Engine(Protocol):
    """Runs units of work."""

    def map(
        self,
        unit: Callable[[T], Arrays],
        items: Sequence[T],
        description: str,
        min_items: int = MIN_ITEMS,
        noun: str = "",
    ) -> Iterator[Arrays]:
        """`unit(item)` of every item, in their order. `description`, `min_items` and `noun` are for the progress, as in
        `tracked`. A unit must not change what it was made from.
        """


class Local:
    """Runs one unit after the other, in this process."""

    def map(
        self,
        unit: Callable[[T], Arrays],
        items: Sequence[T],
        description: str,
        min_items: int = MIN_ITEMS,
        noun: str = "",
    ) -> Iterator[Arrays]:
        """See `Engine.map`. A unit runs when its result is asked for."""
        return map(unit, tracked(items, description, min_items, noun))


LOCAL = Local()


@contextlib.contextmanager
def open_engine(name: str) -> Iterator[Engine]:
    """The engine of `--engine`: `local`; `ray`, a cluster on this machine for this command alone; or `ray=ADDRESS`.

    Raises CallerError for another name, MissingExtraError without the extra `scale`, and ConfigurationError where no
    cluster answers at the address.
    """
    kind, separator, address = name.partition("=")
    if kind == "ray" and bool(separator) == bool(address):
        from router.learn.engine.on_ray import open_ray

        with open_ray(address or None) as engine:
            yield engine
    elif name == "local":
        yield LOCAL
    else:
        raise CallerError(
            f'--engine takes local, ray or ray=ADDRESS (such as ray=10.0.0.5:6379), got "{name}"'
            f"{did_you_mean(kind, ('local', 'ray'))}"
        )

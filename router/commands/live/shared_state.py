"""The options of commands that read or change the shared state of gateways, and how they open it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from router import settings

if TYPE_CHECKING:
    from router.store.state.protocol import StateStore

T = TypeVar("T")
Store = Annotated[
    str | None,
    typer.Option("--store", help="Folder or URL of the shared state.", show_default="as that of route serve"),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="URL of the shared state of several gateways.",
        show_default="PULVINAR_STATE, else the store",
    ),
]


def with_state(store: str | None, url: str | None, call: Callable[[StateStore], Coroutine[Any, Any, T]]) -> T:
    """What `call` returns for the state at `url`, else in the folder `store`; the defaults are those of the gateway."""
    from router.store import open_store
    from router.store.backend import StateUse

    async def run() -> T:
        backend = open_store(store or settings.default_store(), state=url or settings.default_state())
        state = backend.shared_state(StateUse())
        try:
            return await call(state)
        finally:
            await asyncio.to_thread(state.close)

    return asyncio.run(run())

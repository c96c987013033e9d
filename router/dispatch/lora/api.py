"""What is asked of a server that holds adapters, whatever its protocol is."""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from router.errors import UpstreamError

Problem = Literal[
    "exists", "missing", "full", "in_use", "unsupported", "refused", "failed", "late", "unreachable", "cooling_down"
]
"""Why a server did not do what it was asked.

`exists`: the adapter is loaded already. `missing`: it does not know the adapter, or not its files. `full`: all its
slots are taken. `in_use`: another gateway uses, loads or unloads what would have to change. `unsupported`: it cannot
load adapters, or was started so. `refused`: it does not accept the adapter, or the gateway's key. `failed`: the server
itself failed. `late`: it did not answer in time. `unreachable`: no answer. `cooling_down`: the adapter failed there
lately, so it was not asked.
"""


class AdapterServerError(UpstreamError):
    """A server did not list, load or unload an adapter.

    The message is for clients, so it has none of the server's words; `detail` has them, redacted, for operators.
    """

    def __init__(self, message: str, problem: Problem, detail: str = "", *, fault: str = "adapter") -> None:
        self.problem, self.detail = problem, detail
        super().__init__(message, 504 if problem == "late" else 502, fault)

    def again(self) -> AdapterServerError:
        """A copy, since what many raise would collect the frames of all of them."""
        return AdapterServerError(str(self), self.problem, self.detail, fault=self.fault)


class Held(Struct, frozen=True):
    """An adapter that a server has. `path` is where the server has its weights; empty where it does not say."""

    name: str
    path: str = ""


class Listed(Struct, frozen=True):
    """The adapters of a server, in its order."""

    adapters: tuple[Held, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(held.name for held in self.adapters)

    def path_of(self, name: str) -> str:
        """The path of one; empty where it is not listed, or the server does not say."""
        return next((held.path for held in self.adapters if held.name == name), "")


class Activity(Struct, frozen=True):
    """What a server does with its adapters now, by their names: of those that its requests use or wait for, and of
    those that lie in the memory of its GPU, of its CPU, or are pinned there. None where the server does not say.
    """

    running: frozenset[str] | None = None
    waiting: frozenset[str] | None = None
    on_gpu: frozenset[str] | None = None
    on_cpu: frozenset[str] | None = None
    pinned: frozenset[str] | None = None
    gpu_slots: int | None = None


class AdapterApi(Protocol):
    """The requests with which one server manages its adapters. `loads`: whether it loads and unloads any at run time.

    All raise AdapterServerError. A time limit is the caller's.
    """

    loads: bool

    async def list(self) -> Listed | None:
        """The adapters that the server has now; None where it has no such list."""
        ...

    async def activity(self) -> Activity | None:
        """What it does with them; None where it does not report that."""
        ...

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Load the adapter at `path`, which is a path or name there, as `name`. `pinned`: it should stay."""
        ...

    async def unload(self, name: str) -> None:
        """Unload it. One that the server does not have raises `missing`."""
        ...

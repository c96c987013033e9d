"""`/adapters`: what servers hold, and the operator's orders to load, unload and pin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.dispatch.lora.api import AdapterServerError
from router.dispatch.lora.control import AdapterControl
from router.errors import FieldError, UpstreamError
from router.gateway.endpoints.keyed import Entry
from router.gateway.endpoints.operator.access import check_operator
from router.gateway.routing.adapters import AdapterServers

_JSON = "application/json"
_FIELDS = frozenset({"adapter", "server"})


class Adapters:
    """Handlers of `/adapters`. `servers` returns those of the current configuration; `is_alone` is whether the gateway
    has one worker: the pins of one would not hold in the others.
    """

    def __init__(self, control: AdapterControl, servers: Callable[[], AdapterServers], *, is_alone: bool) -> None:
        self._control, self._servers, self._is_alone = control, servers, is_alone

    async def held(self, _: Request, entry: Entry) -> Response:
        """`GET /adapters`: what every server holds."""
        check_operator(entry)
        return self._answer()

    async def load(self, http: Request, entry: Entry) -> Response:
        """`POST /adapters/load`: on the server that is named, else on the one that a call would go to."""
        adapter, urls = await self._read(http, entry)
        holding = [url for url in urls if self._holds(url, adapter)]
        url = (holding or self._by_room(urls))[0]
        await self._all({url: self._control.load(url, adapter)})
        return self._answer()

    async def unload(self, http: Request, entry: Entry) -> Response:
        """`POST /adapters/unload`: from the server that is named, else from all that hold it."""
        adapter, urls = await self._read(http, entry)
        holding = [url for url in urls if self._holds(url, adapter)]
        if not holding:
            raise FieldError("adapter", f'is "{adapter}", which is not loaded there')
        await self._all({url: self._control.unload(url, adapter) for url in holding})
        return self._answer()

    async def pin(self, http: Request, entry: Entry) -> Response:
        """`POST /adapters/pin`: load it, and keep it on the server that is named, else on all of its base."""
        return await self._pin(http, entry, on=True)

    async def unpin(self, http: Request, entry: Entry) -> Response:
        """`POST /adapters/unpin`: keep it no longer."""
        return await self._pin(http, entry, on=False)

    async def _pin(self, http: Request, entry: Entry, *, on: bool) -> Response:
        adapter, urls = await self._read(http, entry)
        if not self._is_alone:
            raise FieldError(
                "adapter",
                "cannot be pinned by a command: this gateway has several workers, and the others would not know. Add "
                "it to `adapters.pinned` of the base's card, which all of them read at once",
            )
        if on:
            await self._all({url: self._control.load(url, adapter, pinned=True) for url in urls})
        else:
            for url in urls:
                self._control.pin(url, adapter, False)
        return self._answer()

    async def _read(self, http: Request, entry: Entry) -> tuple[str, Sequence[str]]:
        """The card of the adapter, and the addresses of the servers. Raises FieldError and PermissionDeniedError."""
        check_operator(entry)
        body = await entry.read_body(http)
        if unknown := sorted(body.keys() - _FIELDS):
            raise FieldError(unknown[0], "is no field of this request; it has adapter and server")
        adapter, server = body.get("adapter"), body.get("server")
        if not isinstance(adapter, str) or not adapter:
            raise FieldError("adapter", "must be the id of an adapter's card")
        if not (server is None or isinstance(server, str)):
            raise FieldError("server", "must be the name of a server, as in GET /adapters")
        servers = self._servers()
        urls = servers.servers_of(adapter)
        if server is None:
            return adapter, urls
        url = servers.named(server)
        if url not in urls:
            raise FieldError("server", f'is "{server}", which cannot hold {adapter}: it has another base')
        return adapter, (url,)

    def _holds(self, url: str, card: str) -> bool:
        held = (server for server in self._servers().held() if server.url == url)
        return any(each.card == card for server in held for each in server.adapters)

    def _by_room(self, urls: Sequence[str]) -> list[str]:
        """The servers with most free slots first."""
        free = {server.url: server.slots - len(server.adapters) for server in self._servers().held()}
        return sorted(urls, key=lambda url: -free.get(url, 0))

    async def _all(self, calls: Mapping[str, Awaitable[None]]) -> None:
        """Wait for what is asked of servers, by their addresses. Raises the first error in the words of its server,
        which are redacted.
        """
        outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
        for url, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, AdapterServerError):
                text = f"{self._servers().name_of(url)}: {outcome.detail or outcome}"
                raise UpstreamError(text, outcome.status, outcome.fault)
            if isinstance(outcome, BaseException):
                raise outcome

    def _answer(self) -> Response:
        return Response(msgspec.json.encode({"servers": list(self._servers().held())}), media_type=_JSON)

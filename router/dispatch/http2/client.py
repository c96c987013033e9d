"""Requests to servers, in the protocol that each speaks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from router.dispatch.http1 import Answer, BrokenError, Target
from router.dispatch.http1 import Client as Http1Client
from router.dispatch.http1.client import REPEATABLE
from router.dispatch.http1.target import Origin

if TYPE_CHECKING:
    # Imported where a server may speak HTTP/2.
    from router.dispatch.http2.group import Group

_MAX_GROUPS = 1024
# A server that counts the requests of a connection ends one while a burst is on its way, and the next, too.
_TRIES = 3


class Client:
    """Sends requests over connections that stay open between them: by HTTP/2 where the target says that its server may
    speak it, and by HTTP/1.1 to the others, and where the server chooses that. Use it on one event loop.
    """

    def __init__(self) -> None:
        self._http1 = Http1Client()
        self._groups: dict[Origin, Group] = {}

    def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        connect_s: float,
        is_alone: bool = False,
    ) -> Awaitable[Answer]:
        """See the client for HTTP/1.1. Where the server says that it has not begun with a request, that is sent again
        on another connection, whatever its method.
        """
        origin = target.origin
        if origin.http2_trust is None and not origin.is_http2:
            return self._http1.send(method, target, headers, body, connect_s=connect_s, is_alone=is_alone)
        return self._send(method, target, headers, body, connect_s=connect_s, is_alone=is_alone)

    async def aclose(self) -> None:
        """Close every connection, also those of running requests."""
        groups, self._groups = self._groups, {}
        for group in groups.values():
            group.close()
        await self._http1.aclose()
        # The transports close themselves in the next pass of the loop.
        await asyncio.sleep(0)

    async def _send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_s: float,
        is_alone: bool,
    ) -> Answer:
        from router.dispatch.http2.stream import request_fields

        group, fields = self._group(target.origin), request_fields(method, target, headers, body)
        for left in reversed(range(_TRIES)):
            connection = await (group.alone(connect_s) if is_alone else group.with_room(connect_s))
            if connection is None:
                break
            answer = connection.send(fields, body, is_last=is_alone)
            try:
                await answer.begun()
            except BrokenError as error:
                is_safe = error.is_unprocessed or (error.is_unanswered and method in REPEATABLE)
                if not (left and is_safe):
                    raise
            except BaseException:
                answer.close()
                raise
            else:
                return answer
        return await self._http1.send(method, target, headers, body, connect_s=connect_s, is_alone=is_alone)

    def _group(self, origin: Origin) -> Group:
        group = self._groups.get(origin)
        if group is None:
            from router.dispatch.http2.group import Group

            if len(self._groups) >= _MAX_GROUPS:
                # Those of addresses and certificates that no card has any more.
                self._groups = {origin: group for origin, group in self._groups.items() if group.is_used}
            http1 = self._http1
            new, keep = functools.partial(http1.new_connection, origin), functools.partial(http1.keep, origin)
            group = self._groups[origin] = Group(origin, http1.names, new, keep)
        return group

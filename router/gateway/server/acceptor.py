"""Accepts connections, a few at a time, and none while there is no room: the others wait in the system's queue."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from router.gateway.server.connections import Connections

# Connections that are accepted before those accepted are dealt with. More would use descriptors that are kept back.
_BATCH = 32
_BACKLOG = 2048
_RETRY_S = 0.1
_UNSENT_BYTES = 2**17
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts from `listener` until it is closed, and makes a protocol for each connection."""

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol], connections: Connections
    ) -> None:
        self._listener, self._make_protocol, self._connections = listener, make_protocol, connections
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_accepting = self._is_closed = False
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            # Connections inherit it. The system would hold megabytes for each client that does not read, and the
            # gateway would decode and convert what nobody takes. What is on its way to a client is not limited.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        listener.listen(_BACKLOG)
        connections.on_room = self._resume
        self._resume()

    def close(self) -> None:
        """Accept no more. The listener itself stays open."""
        self._pause()
        self._is_closed = True

    def _resume(self) -> None:
        if not self._is_accepting and not self._is_closed:
            self._is_accepting = True
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        if self._opening:
            # They read their heads first: further ones might take their places.
            return
        for _ in range(_BATCH):
            if self._connections.is_full:
                self._pause()
                return
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause()
                    self._loop.call_later(_RETRY_S, self._resume)
                    return
                # The client has left already.
                continue
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()

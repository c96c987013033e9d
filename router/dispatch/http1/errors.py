"""What goes wrong between the gateway and a server. A relay turns these into the errors that a caller sees."""

from __future__ import annotations


class ConnectError(OSError):
    """There is no connection: the name, the port or the certificate is wrong, or nothing listens there.

    `errno` is that of the operating system, where it has reported one.
    """

    def __init__(self, problem: str, cause: BaseException | None = None) -> None:
        super().__init__(getattr(cause, "errno", None), problem)

    def __str__(self) -> str:
        # The problem states the number where it helps.
        return str(self.strerror)


class ConnectTimeoutError(TimeoutError):
    """The connection did not come about in time."""


class BrokenError(ConnectionError):
    """A connection ended before its answer did. `is_unanswered`: not one byte of an answer had arrived.

    `is_unprocessed`: the server has stated that it did not process the request, so that any request may be sent again.
    """

    def __init__(self, problem: str, *, is_unanswered: bool = False, is_unprocessed: bool = False) -> None:
        super().__init__(problem)
        self.is_unanswered, self.is_unprocessed = is_unanswered, is_unprocessed


class ProtocolError(ConnectionError):
    """The server's bytes are no HTTP answer, or one whose end is ambiguous."""

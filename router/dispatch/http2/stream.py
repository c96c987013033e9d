"""One request and its answer on a connection that carries many."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from router.dispatch.http1.answer import Answer
from router.dispatch.http1.client import BODILESS
from router.dispatch.http1.errors import ProtocolError
from router.dispatch.http1.parser import MAX_FIELDS, Head
from router.dispatch.http1.target import Target
from router.formats.headers import NAME, NOT_IN_VALUES

_STATUS = re.compile(rb"[2-5][0-9][0-9]")
_LENGTH = re.compile(r"[0-9]{1,18}")
# They are about a connection, and forbidden here.
_OF_THE_CONNECTION = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
# Proxies may not keep these in their tables, either.
_SECRETS = frozenset({"authorization", "x-api-key", "cookie"})


class Stream:
    """The state of one exchange. `head`, `chunks` and `is_complete` are what its answer takes over.

    `unsent` is the rest of the request's body, `untaken_bytes` what of the answer's window was used and not given back.
    """

    __slots__ = ("answer", "chunks", "has_begun", "head", "id", "is_complete", "unsent", "untaken_bytes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        number: int,
        body: bytes,
        close: Callable[[Stream], None],
        on_taken: Callable[[Stream], None],
    ) -> None:
        self.id = number
        self.head: Head | None = None
        self.chunks: list[bytes] = []
        self.is_complete = self.has_begun = False
        self.unsent = memoryview(body)
        self.untaken_bytes = 0
        self.answer = Answer(loop, lambda: close(self), lambda: on_taken(self))


def request_fields(method: str, target: Target, headers: Mapping[str, str], body: bytes) -> list[HeaderTuple]:
    """The header fields of a request. Raises ValueError for a header that cannot be sent."""
    scheme = b"http" if target.origin.trust is None else b"https"
    fields: list[HeaderTuple] = [
        HeaderTuple(b":method", method.encode()),
        HeaderTuple(b":scheme", scheme),
        HeaderTuple(b":authority", target.authority.encode()),
        HeaderTuple(b":path", target.resource.encode()),
    ]
    for name, value in headers.items():
        if name in _OF_THE_CONNECTION:
            continue
        encoded = value.strip(" \t").encode()
        if NOT_IN_VALUES.search(encoded):
            raise ValueError("a header has a line break or a null character")
        kind = NeverIndexedHeaderTuple if name in _SECRETS else HeaderTuple
        fields.append(kind(name.encode(), encoded))
    if body or method not in BODILESS:
        fields.append(HeaderTuple(b"content-length", b"%d" % len(body)))
    return fields


def head_of(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """The head of an answer from its fields. Raises ProtocolError where it is none."""
    headers: dict[str, str] = {}
    status, count = b"", 0
    for name, value in fields:
        count += 1
        if name == b":status" and not status:
            status = value
        elif name.startswith(b":"):
            raise ProtocolError("the head of the answer has a field that it must not have")
        elif not NAME.fullmatch(name):
            # HTTP/1.1 has names in lines: a line break in one would be the end of it.
            raise ProtocolError("a header of the answer has a name that no header may have")
        elif NOT_IN_VALUES.search(value):
            if b"\0" in value or name == b"content-length":
                raise ProtocolError("a header of the answer has control characters")
        else:
            headers.setdefault(name.decode("ascii", "replace").lower(), value.decode("utf-8", "surrogateescape"))
    if count > MAX_FIELDS:
        raise ProtocolError("the head of the answer is too large")
    if not _STATUS.fullmatch(status):
        raise ProtocolError("the answer has no valid status")
    length = headers.get("content-length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise ProtocolError("the answer has no valid length")
    return Head(int(status), headers, None if length is None else int(length))

"""Requests to the endpoints with which a server manages its adapters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from yarl import URL

from router import __version__
from router.cards.schema import Card
from router.dispatch.bodies.coding import CodingError
from router.dispatch.bodies.reader import BodyReader
from router.dispatch.bodies.redaction import one_line
from router.dispatch.bodies.whole import reason_of, redacting
from router.dispatch.connection.egress import extra_headers, target
from router.dispatch.http1 import Answer, Client, ConnectError, ConnectTimeoutError
from router.dispatch.lora.api import Activity, AdapterServerError, Problem
from router.dispatch.providers import api_key
from router.errors import UpstreamError
from router.formats.json import json_bytes, json_or_none
from router.wire.errors import fault_of

# The metrics of a server with hundreds of adapters are the largest of these.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_CONNECT_S = 5.0
_CLOSED = "closed the connection before its answer was complete"
_BY_STATUS: dict[int, Problem] = {401: "refused", 403: "refused", 404: "missing", 405: "unsupported"}


class Reply(Struct, frozen=True):
    """An answer. `body` is its decoded JSON, None where it is none; `words` is what it says, redacted, in one line."""

    status: int
    text: str
    body: Any
    words: str

    @property
    def succeeded(self) -> bool:
        """Whether the status is that of a success."""
        return 200 <= self.status < 300


class ServerClient:
    """The connections to servers that hold adapters. Create and use it on one event loop."""

    def __init__(self) -> None:
        self._client = Client()

    async def send(self, card: Card, method: str, url: URL, body: Any = None) -> Reply:
        """The answer to one request, which has the credentials, headers, proxy and authorities of the card.

        Raises AdapterServerError where there is none. Redirects are not followed.
        """
        key = api_key(card)
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": f"pulvinar/{__version__}",
            **({} if key is None else {"authorization": f"Bearer {key}"}),
            **extra_headers(card),
        }
        data = b""
        if body is not None:
            data, headers["content-type"] = json_bytes(body), "application/json"
        with _failures(card):
            # A server that has just restarted must not be reached by a connection of before.
            response = await self._client.send(
                method, target(card, url), headers, data, connect_s=_CONNECT_S, is_alone=True
            )
            try:
                raw = await _read(response)
            finally:
                response.close()
        if 300 <= response.status < 400:
            raise failure(card, "refused", "it answers with a redirect, which is not followed")
        text = redacting(card, key)(raw.decode("utf-8", "replace"))
        decoded = json_or_none(text.encode())
        return Reply(response.status, text, decoded, one_line(_words(response.status, decoded, text)))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def failure(card: Card, problem: Problem, detail: str = "", *, fault: str = "adapter") -> AdapterServerError:
    """The error of the card's server. `detail` is for operators."""
    words = {
        "late": "did not load the adapter in time",
        "unreachable": _CLOSED if fault == "cut" else "cannot be reached",
        "cooling_down": "failed to load the adapter lately, and is not asked again yet",
    }
    message = f'the server of the card "{card.id}" {words.get(problem, "did not load the adapter")}'
    return AdapterServerError(message, problem, detail, fault=fault)


def unexpected(card: Card, reply: Reply) -> AdapterServerError:
    """The error of an answer of which nothing is known but its status."""
    problem = _BY_STATUS.get(reply.status) or ("failed" if reply.status >= 500 else "refused")
    return failure(card, problem, f"HTTP {reply.status}: {reply.words}")


def root_url(endpoint: URL, path: str) -> URL:
    """The URL of `path` beside the API of which `endpoint` is one: http://host/v1/models → http://host/`path`."""
    folder = endpoint.raw_path.rpartition("/")[0].removesuffix("/v1")
    return endpoint.with_path(f"{folder}/{path}", encoded=True, keep_query=True)


async def _read(response: Answer) -> bytes:
    reader = BodyReader(response.read, response.headers.get("content-encoding", ""))
    chunks, size = [], 0
    while chunk := await reader.read():
        size += len(chunk)
        if size > _MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
        chunks.append(chunk)
    return b"".join(chunks)


def _words(status: int, decoded: Any, text: str) -> str:
    if isinstance(decoded, dict) and isinstance(own := decoded.get("error_message"), str):
        return own
    return fault_of(status, text if decoded is None else decoded).details.message or text


@contextlib.contextmanager
def _failures(card: Card) -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        raise
    except ConnectTimeoutError:
        raise failure(card, "unreachable", "no connection in time", fault="connect_timeout") from None
    except ConnectError as error:
        raise failure(card, "unreachable", reason_of(card, error), fault="unreachable") from None
    except (CodingError, ValueError) as error:
        raise failure(card, "failed", f"its answer cannot be read: {reason_of(card, error)}") from None
    except OSError as error:
        raise failure(card, "unreachable", reason_of(card, error), fault="cut") from None
    except UpstreamError as error:
        raise failure(card, "refused", str(error), fault=error.fault) from None


class FixedServer:
    """A server whose adapters nobody loads at run time: that at which `card` is called. `reason` says why."""

    loads = False
    reason: str

    def __init__(self, client: ServerClient, card: Card) -> None:
        self._client, self._card = client, card

    async def activity(self) -> Activity | None:
        """Nothing."""
        return None

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """It cannot be asked to."""
        raise failure(self._card, "unsupported", self.reason)

    async def unload(self, name: str) -> None:
        """It cannot be asked to."""
        raise failure(self._card, "unsupported", self.reason)

"""Try API keys: does the provider accept them? Each is used for one request that costs nothing, a list of models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct
from yarl import URL

from router import __version__
from router.cards import Card
from router.dispatch.bodies.coding import CodingError
from router.dispatch.bodies.reader import BodyReader
from router.dispatch.bodies.redaction import one_line
from router.dispatch.connection.egress import extra_headers, target
from router.dispatch.connection.urls import models_url
from router.dispatch.http1 import Answer
from router.dispatch.http2 import Client
from router.dispatch.pool.deployment import deployments_of
from router.dispatch.providers import api_key, base_url, key_variable
from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.formats.net import host_of, parse_url
from router.wire.errors import fault_of

_TIMEOUT_S = 5.0
_GEMINI = "https://generativelanguage.googleapis.com/v1beta"
_MAX_BODY_BYTES = 65_536
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": f"pulvinar/{__version__}"}

State = Literal["ok", "refused", "unreachable", "unknown"]


class KeyCheck(Struct, frozen=True):
    """Whether the server at `host` accepts the key in the environment variable `variable`.

    `state` is `unknown` where the answer does not show it, and where the provider has no list of models. `detail` says
    what happened, `cards` are the ids of the cards that need the key there.
    """

    variable: str
    host: str
    state: State
    detail: str
    cards: tuple[str, ...]

    @property
    def problem(self) -> str | None:
        """Why the cards cannot be called; None where the key is accepted, or nothing is known."""
        if self.state in ("ok", "unknown"):
            return None
        return f"{self.variable} is refused by {self.host} ({self.detail})" if self.state == "refused" else self.detail


class _Request(Struct, frozen=True):
    """A request that only a valid key answers."""

    url: str
    headers: Mapping[str, str]


async def check_keys(cards: Iterable[Card], timeout_s: float = _TIMEOUT_S) -> tuple[KeyCheck, ...]:
    """Try the keys of all cards whose key is set, at once; each key once at each server."""
    needed: dict[tuple[str, str, str], tuple[Card, list[str]]] = {}
    for card in cards:
        for deployment in deployments_of(card):
            variable, key = key_variable(deployment.card), api_key(deployment.card)
            if variable is not None and key is not None:
                place = variable, deployment.card.provider, base_url(deployment.card) or ""
                needed.setdefault(place, (deployment.card, []))[1].append(card.id)
    client = Client()
    try:
        checks = (_check(client, card, tuple(dict.fromkeys(ids)), timeout_s) for card, ids in needed.values())
        return tuple(await asyncio.gather(*checks))
    finally:
        await client.aclose()


async def _check(client: Client, card: Card, ids: tuple[str, ...], timeout_s: float) -> KeyCheck:
    variable = key_variable(card) or ""
    request = _request(card, api_key(card) or "")
    if request is None:
        return KeyCheck(variable, card.provider, "unknown", f"no way to try a key of {card.provider} is known", ids)
    host = host_of(request.url)
    try:
        headers = {**_HEADERS, **request.headers, **extra_headers(card)}
        async with asyncio.timeout(timeout_s):
            answer = await client.send("GET", target(card, URL(request.url)), headers, connect_s=timeout_s)
            try:
                state, detail = _verdict(answer.status, await _beginning(answer))
            finally:
                answer.close()
    except TimeoutError:
        state, detail = "unreachable", f"{host} did not answer within {timeout_s:g} s"
    except CodingError as error:
        state, detail = "unknown", f"its answer cannot be read: {error}"
    except ValueError:
        state, detail = "refused", "it has characters that no header may contain"
    except OSError as error:
        state, detail = "unreachable", f"{host} cannot be reached: {one_line(str(error))}"
    except UpstreamError as error:
        state, detail = "unreachable", str(error)
    return KeyCheck(variable, host, state, detail, ids)


async def _beginning(answer: Answer) -> bytes:
    """What is needed of a body: errors are short, and a list need not be read."""
    reader = BodyReader(answer.read, answer.headers.get("content-encoding", ""))
    body = b""
    while len(body) < _MAX_BODY_BYTES and (chunk := await reader.read()):
        body += chunk
    return body[:_MAX_BODY_BYTES]


def _verdict(status: int, body: bytes) -> tuple[State, str]:
    if status in (200, 429):
        return "ok", "accepted" if status == 200 else "accepted, but rate limited now"
    decoded = json_or_none(body)
    # Gemini and xAI answer 400 to a wrong key.
    kind = fault_of(status, body.decode("utf-8", "replace") if decoded is None else decoded).kind
    if kind == "credit":
        return "refused", f"HTTP {status}: no credit"
    return "refused" if status in (401, 403) or kind == "key" else "unknown", f"HTTP {status}"


def _request(card: Card, key: str) -> _Request | None:
    if card.provider == "anthropic":
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return _listing(base_url(card) or "", "/v1", headers)
    if card.provider == "gemini":
        return _listing(card.base_url or _GEMINI, "/v1beta", {"x-goog-api-key": key})
    url = models_url(card)
    if url is None:
        return None
    if card.provider == "openrouter":
        # Its list of models is public.
        url = f"{url.removesuffix('/models')}/key"
    return _Request(url, {"authorization": f"Bearer {key}"})


def _listing(base: str, default_path: str, headers: Mapping[str, str]) -> _Request | None:
    url = parse_url(base)
    if url is None:
        return None
    path = url.raw_path.rstrip("/") or default_path
    return _Request(str(url.with_path(f"{path}/models", encoded=True)), headers)

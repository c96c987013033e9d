"""What a key may ask for beyond an answer, and whose the ids are that a request names."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from router.errors import PermissionDeniedError, UnknownIdError
from router.formats.json import json_bytes, json_or_none
from router.gateway.config.keys import Key
from router.gateway.routing.selection import GatewayRequest
from router.store.state.protocol import LastAnswer, StateError, StateStore
from router.wire.reading.extras import EXTRAS, extras_in, without_tiers, without_tools
from router.wire.reading.provider_ids import ids_made, ids_used
from router.wire.reading.stored import hashed

_IDEMPOTENCY, _BETA = "idempotency-key", "openai-beta"
_KIND = "id"
# Providers keep answers for 30 days. The store forgets a name a day after the time that it is given.
_KEPT_S = 29 * 86_400.0


def permitted(request: GatewayRequest) -> tuple[GatewayRequest, tuple[str, ...]]:
    """The request as its key may send it, and the fields that were left out.

    What only costs more is left out, and so are the provider's tools where others remain. Raises PermissionDeniedError
    for what would change the answer.
    """
    key = request.key
    if key is None:
        return request, ()
    headers, body = _headers(key, request.headers), request.body
    left_out: tuple[str, ...] = ()
    if not key.allows_extra("service_tier"):
        body, left_out = without_tiers(body)
    denied = [extra for extra in extras_in(body) if not key.allows_extra(extra)]
    if denied:
        body, tools = without_tools(body, denied)
        left_out += tools
        denied = [extra for extra in extras_in(body) if not key.allows_extra(extra)]
    if denied:
        raise PermissionDeniedError(
            f'the key "{key.id}" does not allow {EXTRAS[denied[0]]}; the operator can add {denied[0]} to `allow` of '
            "this key in keys.yaml"
        )
    if headers is request.headers and body is request.body:
        return request, left_out
    return msgspec.structs.replace(request, headers=headers, body=body), left_out


def _headers(key: Key, headers: Mapping[str, str]) -> Mapping[str, str]:
    if _IDEMPOTENCY not in headers and _BETA not in headers:
        return headers
    sent = dict(headers)
    if sent.get(_IDEMPOTENCY):
        # Two keys that choose the same value must not get each other's answers.
        sent[_IDEMPOTENCY] = hashlib.sha256(f"{key.id}\n{sent[_IDEMPOTENCY]}".encode()).hexdigest()
    if not key.allows_extra("beta_features"):
        sent.pop(_BETA, None)
    return sent


class Ownership:
    """Whose the ids of providers are, for one request. Ids are stored as hashes."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._remembered: set[str] = set()

    async def check(self, request: GatewayRequest, now_s: float) -> None:
        """Raise UnknownIdError where the body names an id that the request's key has not made."""
        if self.applies_to(request):
            for id_, path in ids_used(request.body).items():
                await self.check_id(request, id_, path, now_s)

    async def check_id(self, request: GatewayRequest, id_: str, path: str, now_s: float) -> None:
        """Raise UnknownIdError where the request's key has not made this id."""
        if self.applies_to(request) and not await self._state.last_answer(hashed(_KIND, id_), now_s, request.key_id):
            raise UnknownIdError(path, "refers to nothing that this key has made in the last 30 days")

    async def own_entries(self, request: GatewayRequest, listed: bytes, now_s: float) -> bytes:
        """A list of objects, such as files, without those that other keys made."""
        decoded = json_or_none(listed)
        entries = decoded.get("data") if isinstance(decoded, dict) else None
        own = []
        for entry in entries if isinstance(entries, list) else ():
            with contextlib.suppress(UnknownIdError):
                await self.check_id(request, str(entry.get("id")) if isinstance(entry, dict) else "", "id", now_s)
                own.append(entry)
        # The ids of a page's ends may be those of others.
        return json_bytes(
            {"object": "list", "data": own, "has_more": isinstance(decoded, dict) and decoded.get("has_more") is True}
        )

    def new_ids(self, request: GatewayRequest | None, answer: bytes) -> list[str]:
        """The ids in an answer, or in whole events of it, which are to be remembered."""
        if request is None or not self.applies_to(request):
            return []
        return [id_ for id_ in ids_made(answer, request.surface.api) if id_ not in self._remembered]

    async def remember_made(self, request: GatewayRequest | None, answer: bytes, now_s: float) -> None:
        """Store that the request's key has made the ids in an answer, or in whole events of it. See `remember`."""
        if request is not None and (new := self.new_ids(request, answer)):
            self._remembered.update(new)
            await self.remember(request, new, now_s)

    async def remember(self, request: GatewayRequest, ids: Iterable[str], now_s: float) -> None:
        """Store that the request's key has made these ids. A state that cannot be written is no failure: it stores them
        later.
        """
        if self.applies_to(request):
            made, until_s = LastAnswer(_KIND), now_s + _KEPT_S
            writes = (self._state.remember(hashed(_KIND, id_), made, until_s, request.key_id) for id_ in ids)
            for problem in await asyncio.gather(*writes, return_exceptions=True):
                if problem is not None and not isinstance(problem, StateError):
                    raise problem

    def applies_to(self, request: GatewayRequest) -> bool:
        """Whether there are other keys whose ids the request could name."""
        key = request.key
        return key is not None and len(request.active.keys) > 1 and not key.allows_extra("provider_ids")

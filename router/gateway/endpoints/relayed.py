"""Requests that are relayed to the server of a named card without conversion: audio, images, files, responses."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from router.cards import Card
from router.decide.model_name import is_auto
from router.dispatch import Call, UpstreamResponse
from router.dispatch.bounds.body_memory import Reserved
from router.dispatch.connection.raw import RawRequest
from router.dispatch.lora.naming import without_adapters
from router.dispatch.providers import native_apis, uses_litellm
from router.dispatch.relay import NEVER_FORWARDED, forwarded_body
from router.dispatch.stream import Events
from router.errors import FieldError, UnknownModelError, UpstreamError
from router.formats.json import json_bytes
from router.gateway.endpoints.completion import CompletionHandler
from router.gateway.endpoints.keyed import tenant_of
from router.gateway.endpoints.services import Services
from router.gateway.endpoints.stored_responses import deployment_of_response
from router.gateway.http.body import LARGE_BODY_BYTES, JsonLimits, read_body, read_json_object
from router.gateway.http.multipart import FORM, field_of, with_field, without_fields
from router.gateway.http.relayed import RelayedEndpoint
from router.gateway.http.surfaces import CHAT, RESPONSES
from router.gateway.routing.bill import Bill
from router.gateway.routing.selection import GatewayRequest, Selection
from router.types import Api, Usage
from router.wire.reading.provider_ids import id_of_body

_CARD = "x-route-card"
# The description of a file that was created.
_MAX_CREATED_BYTES = 64 * 1024
# A thousand files are described in about 300 KB.
_MAX_LIST_BYTES = 4 * 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
# For the gateway, or for Azure's; keys in the URL are never passed on.
_NOT_IN_QUERY = NEVER_FORWARDED | {_CARD, "api-version", "key", "api-key"}


class _ReportedBill(Bill):
    """The usage is what the upstream reports: media and files are not counted in tokens otherwise.

    None where nothing is charged: for files, and for a stored response, which was booked when it was made.
    """

    def __init__(self, api: Api, *, is_charged: bool) -> None:
        super().__init__(api)
        self._is_charged = is_charged

    def usage(self, _request: GatewayRequest | None, response: UpstreamResponse | None) -> Usage | None:
        """The usage so far."""
        if response is None or not self._is_charged:
            return None
        return response.usage if isinstance(response.body, bytes) else response.body.usage


class RelayedHandler(CompletionHandler):
    """Handles one request: read, find its card, relay, record. Always responds."""

    def __init__(self, services: Services, endpoint: RelayedEndpoint, scope: Scope) -> None:
        surface = msgspec.structs.replace(RESPONSES if endpoint.needs_responses else CHAT, name=endpoint.operation)
        super().__init__(services, surface, scope)
        self._endpoint = endpoint
        self._bill = _ReportedBill(surface.api, is_charged=endpoint.is_charged)
        self._id: str = scope["path_params"].get("id", "")
        self._query = tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        # The body as the client sent it, and its fields where it is JSON.
        self._raw, self._sent = b"", dict[str, Any]()

    async def _read(self, request: GatewayRequest, memory: Reserved) -> GatewayRequest:
        self._raw = await read_body(self._exchange, request.active.config.max_body_bytes, memory)
        if self._id and not _ID.fullmatch(self._id):
            raise UnknownModelError(f'there is no {self._endpoint.path.partition("/")[0][:-1]} "{self._id[:100]}"')
        body = await self._fields(request.active.config.json_limits, memory)
        is_large = len(self._raw) > LARGE_BODY_BYTES
        return self._permitted(msgspec.structs.replace(request, body=body, is_large=is_large))

    async def _fields(self, limits: JsonLimits, memory: Reserved) -> dict[str, Any]:
        """The fields of a JSON body, with the name of the card as `model`."""
        is_form = self._content_type.lower().startswith(FORM)
        fields = self._sent = await read_json_object(self._raw, limits, memory) if self._raw and not is_form else {}
        name = self._headers.get(_CARD) or dict(self._query).get(_CARD) or self._model_in_path or fields.get("model")
        if name is None and is_form:
            name = await asyncio.to_thread(field_of, self._raw, self._content_type, "model")
        return fields if name is None else {**fields, "model": name}

    @property
    def _content_type(self) -> str:
        content_type: str = self._headers.get("content-type", "")
        return content_type

    async def _answer(self, request: GatewayRequest) -> None:
        services = self._services
        if self._endpoint.names_card_by == "response":
            await self._answer_from_its_deployment(request)
            return
        await self._ownership.check(request, self._at)
        if self._id:
            await self._ownership.check_id(request, self._id, "id", self._at)
        selection = self._selection = await self._named(request)
        if self._endpoint.is_charged:
            await self._accounting.reserve(request, selection, self._at, is_text=False)
        await self._take_turn(request, selection.card)
        self._overhead_ms = self._elapsed_ms()
        call = await self._call(request, selection.card)
        attempts = self._bill.attempts
        calling = services.runner.run(selection.plan, selection.catalog, call, attempts, self._before_attempt)
        await self._called(calling)
        await self._respond()

    async def _answer_from_its_deployment(self, request: GatewayRequest) -> None:
        services = self._services
        name = await deployment_of_response(services.state, self._id, request.key_id, time.time())
        catalog = request.active.router.catalog
        position = None if name is None else catalog.position(name.partition("#")[0])
        card = None if position is None else catalog[position]
        if name is None or card is None or not request.active.keys.allows(request.key, card.id):
            raise UnknownModelError(
                f'there is no stored response "{self._id}" of this key: it is older than a day, was made with store: '
                "false, or by a server that keeps no responses"
            )
        await self._take_turn(request, card)
        self._overhead_ms = self._elapsed_ms()
        call = await self._call(request, card)
        await self._called(services.dispatcher.send_to(card, name, call, self._bill.attempts))
        await self._respond()

    async def _named(self, request: GatewayRequest) -> Selection:
        """The selection of the named card. Raises FieldError where the request names none, or no fitting one."""
        name, path = request.body.get("model"), f"/v1/{self._endpoint.path}"
        target = request.active.aliases_of(request.key).get(name, name) if isinstance(name, str) else name
        if target is None or (isinstance(target, str) and is_auto(target)):
            field = _CARD if self._endpoint.names_card_by == "header" else "model"
            raise FieldError(field, f"must name a card: {path} is relayed to its server, and nothing is routed")
        selection = await self._services.selector.select(request)
        if problem := self._problem(selection.card):
            raise FieldError("model", f'is "{name}", which cannot answer {path}: {problem}')
        return selection

    def _problem(self, card: Card) -> str | None:
        if self._endpoint.needs_responses and "responses" not in native_apis(card):
            return "its server does not support responses (`apis` of the card)"
        if uses_litellm(card):
            return f"it is called through litellm, which relays only chat and embeddings of {card.provider}"
        return None

    async def _call(self, request: GatewayRequest, card: Card) -> Call:
        self._check_adapters(request, card)
        if request.is_large:
            body = await asyncio.to_thread(self._forwarded, request, card.model)
        else:
            body = self._forwarded(request, card.model)
        raw = RawRequest(
            self._endpoint.method,
            self._endpoint.path.replace("{id}", self._id),
            body,
            self._content_type,
            self._headers.get("accept", "*/*"),
            tuple(pair for pair in self._query if pair[0] not in _NOT_IN_QUERY),
        )
        return Call(
            self._surface.api,
            request.body,
            headers=request.headers,
            key_id=request.key_id,
            raw=raw,
            ends_s=self._exchange.ends_s,
            tenant=tenant_of(request),
        )

    def _check_adapters(self, request: GatewayRequest, card: Card) -> None:
        """Raise FieldError where the body, which is relayed as it is, names weights for a server of adapters."""
        _, stated = without_adapters(Call(self._surface.api, request.body), card)
        if stated:
            raise FieldError(stated[0], "cannot be sent here: the gateway chooses the adapter; name its card as model")

    def _forwarded(self, request: GatewayRequest, card_model: str) -> bytes:
        """The body with the server's name of the model, and without the fields that are for the gateway; byte for byte
        where that changes nothing.
        """
        model = card_model if self._endpoint.names_card_by == "model" else None
        if not self._raw:
            return self._raw
        if self._content_type.lower().startswith(FORM):
            form = without_fields(self._raw, self._content_type, NEVER_FORWARDED)
            return form if model is None else with_field(form, self._content_type, "model", model)
        fields = forwarded_body(self._sent if model is None else request.body, model)
        return self._raw if fields == self._sent else json_bytes(fields)

    async def _respond(self) -> None:
        response = self._response
        assert response is not None
        self._ttft_ms = self._elapsed_ms()
        if isinstance(response.body, bytes):
            await self._respond_whole(response, response.body)
            return
        events = response.body
        if self._endpoint.operation == "files" and self._request and self._ownership.applies_to(self._request):
            listed = await self._ownership.own_entries(self._request, await _whole_list(events), self._at)
            await self._responder.begin_raw(response.status, response.headers)
            await self._responder.events(listed, is_last=False)
            await self._end_raw(response.status)
            return
        await self._responder.begin_raw(response.status, response.headers)
        created = b""
        async for piece in events:
            created = created + piece if len(created) < _MAX_CREATED_BYTES else created
            await self._responder.events(piece, is_last=False)
        if self._endpoint.operation == "file_upload" and (id_ := id_of_body(created)) and self._request is not None:
            await self._ownership.remember(self._request, (id_,), self._at)
        await self._end_raw(response.status)

    async def _end_raw(self, status: int) -> None:
        await self._record(status, None)
        await self._responder.events(b"", is_last=True)

    async def _end_stream_with_error(self, error: Any, event: bytes | None = None) -> None:
        # An error's text would be part of the response's bytes.
        await self._record(200, error.code)
        self._exchange.break_off()


async def _whole_list(events: Events) -> bytes:
    """A list that is read before it is passed on. Raises UpstreamError for one that is too large."""
    pieces, size = [], 0
    async for piece in events:
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_LIST_BYTES:
            raise UpstreamError("the upstream's list is too large; ask for a shorter page (`limit`)", 502, "too_large")
    return b"".join(pieces)

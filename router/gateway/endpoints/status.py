"""The gateway's own GET endpoints: status for operators, the model list and the OpenAPI document for clients."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router import __version__
from router.errors import InvalidKeyError
from router.gateway.config.keys import Key
from router.gateway.config.reload import ConfigReloader
from router.gateway.endpoints.apidoc.document import openapi_document
from router.gateway.endpoints.keyed import Entry, authenticated
from router.gateway.endpoints.models import ModelList, read_page
from router.gateway.http.surfaces import is_of_anthropic
from router.gateway.learning.promoted import ArtifactInUse
from router.gateway.routing.availability import AvailabilityMonitor
from router.gateway.telemetry.metrics import Metrics
from router.perceive import kernel
from router.store.state.protocol import RemoteState

_JSON = "application/json"
_NOTHING: frozenset[str] = frozenset()
_REFUSED = "a change was refused; a key with `operator: true` reads why"
_RECORDS_WAIT = "the database of records cannot be written; a key with `operator: true` reads why"
_ROOT = b'{"name":"pulvinar","version":"%s"}' % __version__.encode()


class Status:
    """Handlers of the GET endpoints. `models` returns the current model list, `is_draining` whether SIGTERM came,
    `limits_problem` why the limits of keys cannot be kept, if so, `records_problem` why records wait for their
    database, which keeps no request from being served; `remote` is the state on another machine; `artifact` says which
    predictor is in use, and whether the last promotion was rolled back. `flush` has the requests counted that have
    ended.
    """

    def __init__(
        self,
        reloader: ConfigReloader,
        availability: AvailabilityMonitor,
        metrics: Metrics,
        models: Callable[[], ModelList],
        is_draining: Callable[[], bool],
        limits_problem: Callable[[], str | None],
        records_problem: Callable[[], str | None],
        artifact: Callable[[], ArtifactInUse],
        flush: Callable[[], None],
        remote: RemoteState | None = None,
    ) -> None:
        self._reloader, self._availability, self._metrics = reloader, availability, metrics
        self._models, self._is_draining, self._limits_problem = models, is_draining, limits_problem
        self._records_problem, self._remote, self._artifact = records_problem, remote, artifact
        self._flush = flush

    async def root(self, _: Request) -> Response:
        """`GET /`: the name and the version."""
        return Response(_ROOT, media_type=_JSON)

    async def health(self, _: Request) -> Response:
        """`GET /healthz`: the process responds."""
        return Response(b'{"status":"ok"}', media_type=_JSON)

    async def readiness(self, request: Request) -> Response:
        """`GET /readyz`: whether requests should be sent here. Why not, and why the last configuration change was
        rejected, is for clients with a key: it may quote files.
        """
        current, is_draining, problem = self._reloader.current, self._is_draining(), self._limits_problem()
        # Another gateway has no state either where they share it: taking all out of service would help nobody.
        is_ready = not is_draining and (problem is None or self._remote is not None)
        status: dict[str, object] = {"ready": is_ready}
        if current.keys and (key := self._key_of(request)) is not None:
            # What an operator wrote into a refused file may be of cards that exist for one key only.
            refused, catalog = self._reloader.problem, current.router.catalog
            shown = refused if key.operator or not (refused and current.keys.tenants) else _REFUSED
            hidden, records = current.keys.hidden(key), self._records_problem()
            callable_hidden = len(hidden - self._availability.unavailable.keys())
            status |= {
                "status": "draining" if is_draining else "ready" if is_ready else "limits_unavailable",
                "cards": {
                    "callable": self._availability.callable_cards - callable_hidden,
                    "all": len(catalog) - len(hidden),
                },
                "configuration": {"number": current.number, "fingerprint": current.fingerprint},
                "kernel": kernel.status(),
                # A reason names folders and quotes judgements, which is the operator's business.
                "artifact": self._artifact() if key.operator else ArtifactInUse(current.router.predictor.id),
                "refused_edit": shown,
                "limits_problem": problem,
                # It names the database, which is the operator's business.
                "records_problem": records if key.operator or records is None else _RECORDS_WAIT,
            }
            if self._remote is not None:
                status["state"] = self._state_of(self._remote)
        return Response(msgspec.json.encode(status), 200 if is_ready else 503, media_type=_JSON)

    def _state_of(self, remote: RemoteState) -> dict[str, object]:
        report = remote.report()
        return {
            "reachable": report.reachable,
            "on_loss": msgspec.to_builtins(self._reloader.current.config.state.on_loss),
            "share": report.share,
            "denied": report.denied,
            "costs_waiting": report.waiting,
        }

    def _key_of(self, request: Request) -> Key | None:
        try:
            return authenticated(self._reloader.current, request.headers)
        except InvalidKeyError:
            return None

    async def metrics(self, request: Request, entry: Entry) -> Response:
        """`GET /metrics`, for Prometheus. A key of no operator sees nothing of cards that do not exist for it."""
        accept, key = request.headers.get("accept", ""), entry.request.key
        hidden = _NOTHING if key is None or key.operator else entry.request.active.keys.hidden(key)
        self._flush()
        content_type, body = await self._metrics.exposition(accept, hidden)
        return Response(body, headers={"content-type": content_type})

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`."""
        current = self._reloader.current
        document = openapi_document(keyed=bool(current.keys), open_metrics=current.config.open_metrics)
        return Response(msgspec.json.encode(document), media_type=_JSON)

    async def models(self, request: Request, entry: Entry) -> Response:
        """`GET /v1/models`, in the shape of the client's protocol."""
        models, key = self._models(), entry.request.key
        is_anthropic = is_of_anthropic(request.headers)
        body = models.page(key, read_page(request.query_params)) if is_anthropic else models.listed(key)
        return Response(body, media_type=_JSON)

    async def model(self, request: Request, entry: Entry) -> Response:
        """`GET /v1/models/{model}`, in the shape of the client's protocol."""
        models, key, name = self._models(), entry.request.key, request.path_params["model"]
        is_anthropic = is_of_anthropic(request.headers)
        return Response(models.anthropic_one(name, key) if is_anthropic else models.one(name, key), media_type=_JSON)

"""Scripted servers with adapters: their endpoints, answers, errors and limits are those of the sources of vLLM 0.32,
SGLang 0.5, LoRAX 0.12 and llama.cpp's server. An answer's text is the adapter that made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.gateway.servers import served

BASE = "base-model"


class ScriptedServer:
    """A server that can be slow, hang, refuse, crash and restart. `asked` has the paths and bodies of all requests but
    chats, `chats` the bodies of chats. No chat is answered while `is_holding`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.adapters: OrderedDict[str, str] = OrderedDict()
        self.asked: list[tuple[str, Any]] = []
        self.chats: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.absent_paths = {"/absent"}
        self.load_s = 0.0
        self.list_s = 0.0
        self.chat_s = 0.0
        self.is_holding = False
        self.is_down = False
        self.broken_paths: set[str] = set()
        self.most_at_once = 0
        self.lazy_loads = 0
        self.is_ending = False
        self._running: dict[str, int] = {}

    def routes(self) -> list[Route]:
        raise NotImplementedError

    def loads(self, name: str = "") -> int:
        """How many loads it was asked for."""
        return sum(path.endswith("/load_lora_adapter") and name in ("", body["lora_name"]) for path, body in self.asked)

    def restart(self) -> None:
        """Forget everything, as a new process does."""
        self.adapters.clear()

    async def body(self, request: Request) -> Any:
        """Note the request."""
        self.headers = dict(request.headers)
        raw = await request.body()
        body = json.loads(raw) if raw else None
        if request.url.path.endswith("/chat/completions"):
            self.chats.append(body)
        else:
            self.asked.append((request.url.path, body))
        return body

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the test ends."""
        ends_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends_s and not self.is_ending:
            await asyncio.sleep(min(seconds, 0.02))

    @contextlib.asynccontextmanager
    async def used(self, name: str) -> AsyncIterator[None]:
        """An adapter is used by a request."""
        self._running[name] = self._running.get(name, 0) + 1
        self.most_at_once = max(self.most_at_once, len(self._running))
        try:
            await asyncio.sleep(self.chat_s)
            while self.is_holding and not self.is_ending:
                await asyncio.sleep(0.01)
            yield
        finally:
            self._running[name] -= 1
            if not self._running[name]:
                del self._running[name]

    def models(self) -> JSONResponse:
        entry = {"object": "model", "created": 1, "owned_by": "vllm"}
        base = {**entry, "id": BASE, "root": BASE, "parent": None, "max_model_len": 2048}
        adapters = [{**entry, "id": name, "root": path, "parent": BASE} for name, path in self.adapters.items()]
        return JSONResponse({"object": "list", "data": [base, *adapters]})


def chat_answer(text: str, model: str) -> JSONResponse:
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return JSONResponse(
        {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [message], "usage": usage}
    )


class ScriptedVllm(ScriptedServer):
    """vLLM. It keeps every name, but the weights of `cpu_slots` adapters, and reads others again lazily."""

    def __init__(self, cpu_slots: int = 2, updating: bool = True) -> None:
        super().__init__()
        self.cpu_slots, self.updating = cpu_slots, updating
        self.weights: OrderedDict[str, None] = OrderedDict()

    def restart(self) -> None:
        super().restart()
        self.weights.clear()

    def routes(self) -> list[Route]:
        always = [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/messages/count_tokens", self.count, methods=["POST"]),
            Route("/v1/responses/{id}", self.stored, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]
        if not self.updating:
            return always
        return [
            *always,
            Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
            Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        await self.body(request)
        await self.pause(self.list_s)
        return self.models()

    async def load(self, request: Request) -> Response:
        body = await self.body(request)
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters and not body.get("load_inplace"):
            return self.error(
                400,
                "InvalidUserInput",
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True.",
            )
        await self.pause(self.load_s)
        if path in self.absent_paths:
            return self.error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        self._touch(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        name = (await self.body(request))["lora_name"]
        if name not in self.adapters:
            return self.error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        self.weights.pop(name, None)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def chat(self, request: Request) -> Response:
        model = (await self.body(request))["model"]
        if model == BASE:
            return chat_answer(BASE, model)
        if model not in self.adapters:
            return self.error(
                404, "NotFoundError", f"The model `{model}` does not exist. Valid aliases: {BASE}.", param="model"
            )
        if model not in self.weights:
            self.lazy_loads += 1
        self._touch(model)
        async with self.used(model):
            return chat_answer(model, model)

    async def count(self, request: Request) -> Response:
        model = (await self.body(request))["model"]
        if model != BASE and model not in self.adapters:
            return self.error(404, "NotFoundError", f"The model `{model}` does not exist.", param="model")
        return JSONResponse({"input_tokens": 3})

    async def stored(self, request: Request) -> Response:
        await self.body(request)
        return JSONResponse({"id": request.path_params["id"], "object": "response", "status": "completed"})

    async def metrics(self, request: Request) -> Response:
        await self.body(request)
        running = ",".join(self._running)
        return PlainTextResponse(
            "# HELP vllm:lora_requests_info Running stats on lora requests.\n"
            "# TYPE vllm:lora_requests_info gauge\n"
            'vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters=""} 1.7e+09\n'
            'vllm:lora_requests_info{max_lora="2",waiting_lora_adapters="",'
            f'running_lora_adapters="{running}"}} 1.8e+09\n'
            'vllm:num_requests_running{engine="0",model_name="base-model"} 0.0\n'
        )

    def error(self, status: int, kind: str, message: str, param: str | None = None) -> JSONResponse:
        return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)

    def _touch(self, name: str) -> None:
        self.weights[name] = None
        self.weights.move_to_end(name)
        while len(self.weights) > self.cpu_slots:
            self.weights.popitem(last=False)


class ScriptedSglang(ScriptedServer):
    """SGLang. `evicts`: it makes room by itself, as later versions do; `enabled`: it was started with --enable-lora.
    It reports an error of a streamed chat in the stream.
    """

    def __init__(self, slots: int = 2, evicts: bool = False, enabled: bool = True) -> None:
        super().__init__()
        self.slots, self.evicts, self.enabled = slots, evicts, enabled
        self.pinned: set[str] = set()
        self._known: dict[str, str] = {}
        self._lock = asyncio.Lock()

    def restart(self) -> None:
        super().restart()
        self._known.clear()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/load_lora_adapter", self.load, methods=["POST"]),
            Route("/unload_lora_adapter", self.unload, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        await self.body(request)
        await self.pause(self.list_s)
        return self.models()

    async def load(self, request: Request) -> Response:
        body = await self.body(request)
        name, path = body["lora_name"], body["lora_path"]
        if not self.enabled:
            return self.result("LoRA is not enabled. Please set `--enable-lora` to enable LoRA.")
        async with self._lock:
            if not self.evicts and len(self.adapters) >= self.slots:
                return self.result(
                    f"Cannot load LoRA adapter {name} at path {path}. Maximum number of loaded LoRA adapters is "
                    f"{self.slots}. Please unload some LoRA adapters before loading new ones."
                )
            if name in self.adapters:
                return self.result(f"Failed to load LoRA adapter {name} because it is already loaded")
            if body["pinned"] and len(self.pinned) >= self.slots - 1:
                return self.result(
                    f"Failed to load LoRA adapter {name} as a pinned adapter. It is not allowed to pin all slots in "
                    "the LoRA memory pool to avoid starvation for unpinned adapters and base models."
                )
            await self.pause(self.load_s)
            if path in self.absent_paths:
                return self.result(f"[Errno 2] No such file or directory: '{path}/adapter_config.json'")
            self.adapters[name] = self._known[name] = path
            self.pinned |= {name} if body["pinned"] else set()
            while len(self.adapters) > self.slots:
                self.adapters.pop(next(each for each in self.adapters if each not in self.pinned))
            return self.result()

    async def unload(self, request: Request) -> Response:
        name = (await self.body(request))["lora_name"]
        async with self._lock:
            if name not in self.adapters:
                return self.result(f"LoRA with name {name} does not exist. Loaded LoRAs: {self.adapters.keys()}")
            del self.adapters[name]
            while name in self._running:
                await asyncio.sleep(0.005)
            return self.result()

    async def chat(self, request: Request) -> Response:
        body = await self.body(request)
        name = body["model"].partition(":")[2] or body.get("lora_path")
        if not name:
            return chat_answer(BASE, body["model"])
        if name not in self.adapters:
            if name not in self._known:
                message = (
                    f"Got LoRA adapter that has never been loaded: {name}\nAll loaded adapters: {self._known.keys()}."
                )
                error = {"object": "error", "message": message, "type": "BadRequest", "param": None, "code": 400}
                if body.get("stream"):
                    events = f"data: {json.dumps({'error': error})}\n\ndata: [DONE]\n\n"
                    return Response(events, media_type="text/event-stream")
                return JSONResponse(error, 400)
            self.lazy_loads += 1
            self.adapters[name] = self._known[name]
        async with self.used(name):
            return chat_answer(name, body["model"])

    def result(self, error: str = "") -> JSONResponse:
        body = {
            "rid": None,
            "http_worker_ipc": None,
            "success": not error,
            "error_message": error,
            "loaded_adapters": dict(self.adapters),
        }
        return JSONResponse(body, 400 if error else 200)


class ScriptedLorax(ScriptedServer):
    """LoRAX, which loads what a request names."""

    def routes(self) -> list[Route]:
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def health(self, request: Request) -> Response:
        await self.body(request)
        return Response()

    async def chat(self, request: Request) -> Response:
        body = await self.body(request)
        name = "" if body["model"] == BASE else body["model"]
        if name in self.absent_paths:
            error = f"Request failed during generation: Failed to load adapter {name}"
            return JSONResponse({"error": error, "error_type": "generation"}, 424)
        if name:
            self.adapters[name] = body.get("adapter_source") or "hub"
        return chat_answer(name or BASE, BASE)


class ScriptedLlamaCpp(ScriptedServer):
    """llama.cpp's server, which takes up what it has cached of a prompt with another adapter unless the request states
    every scale and wants nothing cached.
    """

    def __init__(self, *paths: str) -> None:
        super().__init__()
        self.adapters.update((path, path) for path in paths)
        self._cached_with: list[float] | None = None

    def restart(self) -> None:
        self._cached_with = None

    def routes(self) -> list[Route]:
        return [
            Route("/lora-adapters", self.list, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        await self.body(request)
        await self.pause(self.list_s)
        adapters = [
            {"id": number, "path": path, "scale": 0.0, "task_name": "", "prompt_prefix": ""}
            for number, path in enumerate(self.adapters)
        ]
        return JSONResponse(adapters)

    async def chat(self, request: Request) -> Response:
        body = await self.body(request)
        stated, count = body.get("lora", []), len(self.adapters)
        scales = [0.0] * count
        for each in stated:
            if each["id"] < count:
                scales[each["id"]] = each["scale"]
        is_whole = {each["id"] for each in stated} == set(range(count))
        is_safe = is_whole and body.get("cache_prompt") is False
        is_garbled = not is_safe and self._cached_with not in (None, scales)
        self._cached_with = scales
        used = [path for path, scale in zip(self.adapters, scales, strict=True) if scale]
        return chat_answer("garbage" if is_garbled else ",".join(used) or BASE, BASE)


@contextlib.contextmanager
def running(*servers: ScriptedServer) -> Iterator[None]:
    """Serve each on a loopback port, which is then in its `url`."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            server.url = stack.enter_context(served(_crashing(server, Starlette(routes=server.routes()))))
        try:
            yield
        finally:
            for server in servers:
                server.is_ending = True


def _crashing(server: ScriptedServer, app: ASGIApp) -> ASGIApp:
    """`app`, which breaks connections in the middle of an answer: every one while the server is down."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (server.is_down or scope["path"] in server.broken_paths):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionAbortedError

    return answer

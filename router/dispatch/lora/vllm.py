"""vLLM: adapters are loaded by name and path, and named as the model of a request.

`vllm serve` has the endpoints only with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True. It keeps the names of all adapters that
were loaded, but the weights of `--max-cpu-loras` only: beyond that it forgets the weights used longest ago, and reads
them again in the middle of a request. So a server must never be given more adapters than that.
"""

from __future__ import annotations

import math
import re
from typing import Any

from router.cards.schema import Card
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.lora.api import Activity, AdapterServerError, Held, Listed
from router.dispatch.lora.http import Reply, ServerClient, failure, root_url, unexpected

_SERIES = re.compile(r"^vllm:(?P<name>\w*lora\w*)\{(?P<labels>.*)\} (?P<value>[0-9.eE+-]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SWITCH = "start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or state `manage: false` in the base's card"


class LoadingServer:
    """A server that loads adapters on request, and lists them among its models: that at which `card` is called."""

    loads = True

    def __init__(self, client: ServerClient, card: Card) -> None:
        self._client, self._card = client, card

    async def list(self) -> Listed:
        """The adapters among the models: those that have a `parent`, with the path as `root`."""
        reply = await self._client.send(self._card, "GET", endpoint_url(self._card, "models"))
        entries = reply.body.get("data") if reply.succeeded and isinstance(reply.body, dict) else None
        if not isinstance(entries, list):
            raise unexpected(self._card, reply)
        return Listed(
            tuple(
                Held(entry["id"], entry["root"] if isinstance(entry.get("root"), str) else "")
                for entry in entries
                if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry.get("parent")
            )
        )


class VllmApi(LoadingServer):
    """A vLLM server: that at which `card` is called."""

    async def activity(self) -> Activity | None:
        """By the metrics: `vllm:lora_requests_info`, and `vllm:lora_adapter_loaded` of servers that have it."""
        url = root_url(endpoint_url(self._card, "models"), "metrics")
        reply = await self._client.send(self._card, "GET", url)
        return activity_in(reply.text) if reply.succeeded else None

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Load the adapter; vLLM cannot pin one. `exists`, where one of the name is loaded."""
        reply = await self._post("load_lora_adapter", {"lora_name": name, "lora_path": path})
        if not reply.succeeded:
            raise self._error(reply)

    async def unload(self, name: str) -> None:
        """Forget the adapter; requests that use it now are not affected."""
        reply = await self._post("unload_lora_adapter", {"lora_name": name})
        if not reply.succeeded:
            raise self._error(reply)

    async def _post(self, path: str, body: dict[str, Any]) -> Reply:
        return await self._client.send(self._card, "POST", endpoint_url(self._card, path), body)

    def _error(self, reply: Reply) -> AdapterServerError:
        words = reply.words
        if reply.status == 400 and "already been loaded" in words:
            return failure(self._card, "exists", words)
        # The answer of the web framework, which has no such endpoint.
        if reply.status in (404, 405) and not (isinstance(reply.body, dict) and "error" in reply.body):
            return failure(self._card, "unsupported", f"HTTP {reply.status}: {_SWITCH}")
        return unexpected(self._card, reply)


def lacks(name: str, status: int, words: str) -> bool:
    """Whether the answer to a request says that the adapter is not there."""
    return status == 404 and name in words and "does not exist" in words


def activity_in(metrics: str) -> Activity | None:
    """What the metrics say; None where they have none of adapters."""
    found = ((one["name"], _labels(one["labels"]), _number(one["value"])) for one in _SERIES.finditer(metrics))
    series = [(name, labels, value) for name, labels, value in found if value is not None]
    if not series:
        return None
    # Every combination of names is a series of its own, whose value is the time at which it was true last.
    requests = max(
        (one for one in series if one[0] == "lora_requests_info"), key=lambda one: one[2], default=(None, {}, 0.0)
    )[1]
    loaded = [labels for name, labels, value in series if name == "lora_adapter_loaded" and value > 0]
    reports_loaded = any(name in ("lora_adapter_loaded", "num_gpu_loaded_lora_adapters") for name, *_ in series)
    slots = [int(value) for name, _, value in series if name == "max_gpu_lora_adapters"]
    stated = requests.get("max_lora", "")
    return Activity(
        running=_names(requests, "running_lora_adapters"),
        waiting=_names(requests, "waiting_lora_adapters"),
        on_gpu=_at_level(loaded, "gpu") if reports_loaded else None,
        on_cpu=_at_level(loaded, "cpu") if reports_loaded else None,
        pinned=frozenset(each["adapter_name"] for each in loaded if each.get("pinned") == "true")
        if reports_loaded
        else None,
        gpu_slots=max(slots) if slots else (int(stated) if stated.isdecimal() else None),
    )


def _number(text: str) -> float | None:
    """The number, None where it is none: a server may write anything."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _labels(text: str) -> dict[str, str]:
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in _LABEL.findall(text)}


def _names(labels: dict[str, str], label: str) -> frozenset[str] | None:
    return None if label not in labels else frozenset(filter(None, labels[label].split(",")))


def _at_level(loaded: list[dict[str, str]], level: str) -> frozenset[str]:
    return frozenset(each["adapter_name"] for each in loaded if each.get("level") == level and "adapter_name" in each)

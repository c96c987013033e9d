"""The fault matrix for this gateway and others: `python -m bench.faults [--peers FOLDER] [--only …]`.

The upstream has every fault of `tests/faults/faults.py`, with and without a healthy fallback. A cell passes if a client
gets the expected outcome: with a fallback the complete response, after content an error in the stream, without a
fallback the upstream's status, always in the format of the protocol. Other gateways are configured with a fallback and
the same timeouts; those that convert no protocol are called with OpenAI's only.
"""

from __future__ import annotations

import argparse
import collections
import json
import secrets
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml

from bench.gateway.processes import Start, StartError, free_port, running
from bench.peers import DEFAULT_FOLDER, absence
from bench.peers.litellm_proxy import LiteLLM
from bench.peers.portkey import Portkey
from tests.faults.cells import Cell, cells
from tests.faults.faults import FAULTS, REFUSED_CONNECTION, Protocol
from tests.faults.gateways import KEY, cell_cards
from tests.faults.process import route_serve
from tests.faults.surfaces import Response, Surface, problems, send
from tests.faults.upstream import Upstream, fault_upstream, refusing_port

FIRST_TOKEN_S, IDLE_S, TOTAL_S = 0.5, 0.4, 1.5
_CONCURRENCY = 4
_TIMEOUT_S = 20.0
_PASSED = "·"


class Contender(msgspec.Struct, frozen=True):
    """A gateway under test: how it starts, and the model and headers that a client sends for a cell."""

    name: str
    start: Start
    model: Callable[[Cell], str]
    headers: Callable[[Cell], dict[str, str]] = lambda _: {}
    surfaces: tuple[Surface, ...] = ("openai",)
    upstreams: tuple[Protocol, ...] = ("chat",)


class UpstreamUrls(msgspec.Struct, frozen=True):
    """The URL of the upstream, and one that refuses connections."""

    url: str
    refusing_url: str

    def of(self, cell: Cell, role: str) -> str:
        """The base URL of the cell's `bad` or `good` upstream."""
        url = self.refusing_url if role == "bad" and cell.fault.name == REFUSED_CONNECTION else self.url
        return f"{url}/{cell.name}.{role}/v1"


def pulvinar(urls: UpstreamUrls, scratch: Path, _: Path) -> Contender:
    """This gateway, `route serve` with the shipped predictor."""
    matrix = cells()
    cards = [card for cell in matrix for card in cell_cards(cell, urls.url, urls.refusing_url)]
    limits = {"connect": 0.5, "first_token": FIRST_TOKEN_S, "idle": IDLE_S, "total": TOTAL_S}
    settings = {"timeouts": {name: f"{seconds}s" for name, seconds in limits.items()}}
    start = route_serve(scratch, cards, settings)
    return Contender(
        "Pulvinar",
        start,
        # The failing card is the cheaper one. Forecasts prefer the other, since a higher price is evidence of ability.
        lambda cell: f"auto[tag={cell.name},cheapest=1000]",
        surfaces=("openai", "anthropic"),
        upstreams=("chat", "messages"),
    )


def litellm(urls: UpstreamUrls, scratch: Path, home: Path) -> Contender:
    """The LiteLLM proxy: one model a cell, with the healthy upstream as its fallback."""
    models, fallbacks = [], []
    for cell in cells():
        for role in ("bad", "good") if cell.healthy_left else ("bad",):
            provider = "anthropic" if cell.upstream == "messages" else "openai"
            url = urls.of(cell, role)
            called = {
                "model": f"{provider}/{cell.fault.name if role == 'bad' else 'ok'}",
                "api_base": url.removesuffix("/v1") if provider == "anthropic" else url,
                "api_key": KEY,
                "timeout": FIRST_TOKEN_S + IDLE_S,
                "stream_timeout": FIRST_TOKEN_S,
            }
            models.append({"model_name": f"{cell.name}.{role}", "litellm_params": called})
        if cell.healthy_left:
            fallbacks.append({f"{cell.name}.bad": [f"{cell.name}.good"]})
    file, key, port = scratch / "litellm.yaml", f"sk-{secrets.token_hex(24)}", free_port()
    router = {"fallbacks": fallbacks, "num_retries": 0}
    file.write_text(yaml.safe_dump({"model_list": models, "router_settings": router}))
    command = (str(home / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    environment = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
    }
    return Contender(
        LiteLLM.name,
        Start((*command, "--num_workers", "1"), scratch, port, ("/health/liveliness",), environment),
        lambda cell: f"{cell.name}.bad",
        lambda _: {"authorization": f"Bearer {key}"},
        surfaces=("openai", "anthropic"),
        upstreams=("chat", "messages"),
    )


def portkey(urls: UpstreamUrls, scratch: Path, home: Path) -> Contender:
    """The Portkey gateway on Node: the fallback is in a header."""

    def headers(cell: Cell) -> dict[str, str]:
        targets: list[dict[str, Any]] = [
            {
                "provider": "openai",
                "api_key": KEY,
                "custom_host": urls.of(cell, role),
                "override_params": {"model": cell.fault.name if role == "bad" else "ok"},
                "request_timeout": int((FIRST_TOKEN_S + IDLE_S) * 1000),
            }
            for role in (("bad", "good") if cell.healthy_left else ("bad",))
        ]
        # Its default is to fall back on every error.
        return {"x-portkey-config": json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})}

    # The start on loopback is that of bench.gateway.
    start = Portkey().contender(home, scratch, 9).start
    assert start is not None
    return Contender(Portkey.name, start, lambda cell: cell.fault.name, headers)


_OTHERS: dict[str, tuple[LiteLLM | Portkey, Callable[[UpstreamUrls, Path, Path], Contender]]] = {
    "litellm": (LiteLLM(), litellm),
    "portkey": (Portkey(), portkey),
}


def run(contender: Contender, upstream: Upstream, scratch: Path) -> dict[Cell, list[str]]:
    """The problems in every cell that the contender supports."""
    matrix = cells(upstreams=contender.upstreams)
    with (
        running(contender.start, scratch / "gateway.log") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=_TIMEOUT_S) as client,
    ):

        def check_cell(cell: Cell) -> list[str]:
            return _problems_of(contender, client, cell, (KEY, upstream.url.removeprefix("http://")))

        supported = [cell for cell in matrix if cell.surface in contender.surfaces]
        # The first requests make a gateway import and connect what it needs; that is not measured here.
        for cell in supported:
            if cell.fault.name == "ok":
                check_cell(cell)
        with ThreadPoolExecutor(_CONCURRENCY) as pool:
            results = dict(zip(supported, pool.map(check_cell, supported), strict=True))
    return results


def _problems_of(contender: Contender, client: httpx.Client, cell: Cell, confidential: tuple[str, ...]) -> list[str]:
    try:
        response: Response = send(client, cell.surface, contender.model(cell), cell.stream, contender.headers(cell))
    except httpx.TransportError as error:
        return [f"no response ({type(error).__name__})"]
    cell_problems = problems(response, cell.expected, cell.surface, cell.stream, confidential)
    # Not every gateway sends this header.
    return (
        cell_problems
        if contender.name == "Pulvinar"
        else [problem for problem in cell_problems if problem != "no x-request-id"]
    )


def table(results: dict[Cell, list[str]], surface: Surface, upstream: Protocol) -> str:
    """One row a fault; `·` in a cell that passes, else the number of problems."""
    columns = [(stream, left) for stream in (False, True) for left in (True, False)]
    heads = [f"{'stream' if stream else 'whole'}, {'one' if left else 'none'} left" for stream, left in columns]
    lines = [f"{'':24s}" + "".join(f"{head:>20s}" for head in heads)]
    by_cell = {
        (cell.fault.name, cell.stream, cell.healthy_left): cell_problems
        for cell, cell_problems in results.items()
        if (cell.surface, cell.upstream) == (surface, upstream)
    }
    for fault in FAULTS:
        if upstream in fault.upstreams:
            row = [by_cell[fault.name, stream, left] for stream, left in columns]
            lines.append(f"{fault.name:24s}" + "".join(f"{_short(cell_problems):>20s}" for cell_problems in row))
    return "\n".join(lines)


def _short(cell_problems: Iterable[str]) -> str:
    first = next(iter(cell_problems), None)
    return _PASSED if first is None else first.partition(":")[0].partition(" where ")[0][:18]


def main() -> None:
    """Print a table for every protocol of every gateway that is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="where scripts/peers installed them")
    parser.add_argument("--only", nargs="+", choices=["pulvinar", *_OTHERS], default=["pulvinar", *_OTHERS])
    parser.add_argument("--details", action="store_true", help="print the problems of every cell")
    options = parser.parse_args()
    folder = options.peers.resolve()
    with tempfile.TemporaryDirectory() as scratch, fault_upstream() as upstream, refusing_port() as port:
        urls = UpstreamUrls(upstream.url, f"http://127.0.0.1:{port}")
        for name in options.only:
            home = Path(scratch) / name
            home.mkdir()
            if name == "pulvinar":
                _report(pulvinar(urls, home, home), upstream, home, options.details)
                continue
            peer, contender = _OTHERS[name]
            if missing := absence(peer, folder):
                print(f"\n== {peer.name}: {missing}")
                continue
            _report(contender(urls, home, folder / peer.key), upstream, home, options.details)


def _report(contender: Contender, upstream: Upstream, scratch: Path, details: bool) -> None:
    try:
        results = run(contender, upstream, scratch)
    except StartError as error:
        print(f"\n== {contender.name}: {error}")
        return
    for surface in contender.surfaces:
        for protocol in contender.upstreams:
            print(f"\n== {contender.name}: client protocol {surface}, upstream protocol {protocol}")
            print(table(results, surface, protocol))
    passed = sum(not cell_problems for cell_problems in results.values())
    print(f"\n{contender.name}: {passed} of {len(results)} cells pass")
    kinds = collections.Counter(_short(cell_problems) for cell_problems in results.values() if cell_problems)
    print("   " + "; ".join(f"{count} × {kind}" for kind, count in kinds.most_common()))
    if details:
        for cell, cell_problems in results.items():
            for problem in cell_problems:
                print(f"   {cell.name}: {problem}")


if __name__ == "__main__":
    main()

"""The fault wall, for this gateway and others: `python -m bench.faults [--peers FOLDER] [--only …]`.

An upstream breaks in every way of `tests/faults/faults.py`, with a healthy one behind it or none. A cell holds where
the client saw no more of it than it must: with a healthy one left its whole answer, after content an error in the
stream, with none left the honest status, always as its protocol says. Other gateways are asked with a fallback and the
same timeouts configured; those that convert no protocol are asked in OpenAI's alone.
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
from tests.faults.faults import FAULTS, REFUSES, Protocol
from tests.faults.gateways import KEY, cell_cards
from tests.faults.process import route_serve
from tests.faults.surfaces import Answer, Surface, ask, problems
from tests.faults.upstream import Upstream, fault_upstream, refusing_port

FIRST_TOKEN_S, IDLE_S, TOTAL_S = 0.5, 0.4, 1.5
_AT_ONCE = 4
_PATIENCE_S = 20.0
_HELD = "·"


class Contender(msgspec.Struct, frozen=True):
    """A gateway: how it starts, and what a client sends for a cell besides the request itself."""

    name: str
    start: Start
    model: Callable[[Cell], str]
    headers: Callable[[Cell], dict[str, str]] = lambda _: {}
    surfaces: tuple[Surface, ...] = ("openai",)
    upstreams: tuple[Protocol, ...] = ("chat",)


class Place(msgspec.Struct, frozen=True):
    """Where the upstream is, and where nobody is."""

    url: str
    refusing_url: str

    def of(self, cell: Cell, which: str) -> str:
        """The base URL of the cell's `bad` or `good` upstream."""
        url = self.refusing_url if which == "bad" and cell.fault.name == REFUSES else self.url
        return f"{url}/{cell.name}.{which}/v1"


def pulvinar(place: Place, scratch: Path, _: Path) -> Contender:
    """This gateway, `route serve` with the shipped predictor."""
    wall = cells()
    cards = [card for cell in wall for card in cell_cards(cell, place.url, place.refusing_url)]
    limits = {"connect": 0.5, "first_token": FIRST_TOKEN_S, "idle": IDLE_S, "total": TOTAL_S}
    settings = {"timeouts": {name: f"{seconds}s" for name, seconds in limits.items()}}
    start = route_serve(scratch, cards, settings)
    return Contender(
        "Pulvinar",
        start,
        lambda cell: f"auto[tag={cell.name}]",
        surfaces=("openai", "anthropic"),
        upstreams=("chat", "messages"),
    )


def litellm(place: Place, scratch: Path, home: Path) -> Contender:
    """Its proxy: every cell a model of its own, with the healthy one as its fallback."""
    models, fallbacks = [], []
    for cell in cells():
        for which in ("bad", "good") if cell.healthy_left else ("bad",):
            provider = "anthropic" if cell.upstream == "messages" else "openai"
            url = place.of(cell, which)
            called = {
                "model": f"{provider}/{cell.fault.name if which == 'bad' else 'ok'}",
                "api_base": url.removesuffix("/v1") if provider == "anthropic" else url,
                "api_key": KEY,
                "timeout": FIRST_TOKEN_S + IDLE_S,
                "stream_timeout": FIRST_TOKEN_S,
            }
            models.append({"model_name": f"{cell.name}.{which}", "litellm_params": called})
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


def portkey(place: Place, scratch: Path, home: Path) -> Contender:
    """Its gateway on Node: the fallback stands in a header."""

    def headers(cell: Cell) -> dict[str, str]:
        targets: list[dict[str, Any]] = [
            {
                "provider": "openai",
                "api_key": KEY,
                "custom_host": place.of(cell, which),
                "override_params": {"model": cell.fault.name if which == "bad" else "ok"},
                "request_timeout": int((FIRST_TOKEN_S + IDLE_S) * 1000),
            }
            for which in (("bad", "good") if cell.healthy_left else ("bad",))
        ]
        # Its own default is to fall back on every error.
        return {"x-portkey-config": json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})}

    # How it is kept on loopback is the other benchmark's business.
    start = Portkey().contender(home, scratch, 9).start
    assert start is not None
    return Contender(Portkey.name, start, lambda cell: cell.fault.name, headers)


_OTHERS: dict[str, tuple[LiteLLM | Portkey, Callable[[Place, Path, Path], Contender]]] = {
    "litellm": (LiteLLM(), litellm),
    "portkey": (Portkey(), portkey),
}


def run(contender: Contender, upstream: Upstream, scratch: Path) -> dict[Cell, list[str]]:
    """What is wrong in every cell that the contender is asked for."""
    wall = cells(upstreams=contender.upstreams)
    with (
        running(contender.start, scratch / "gateway.log") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=_PATIENCE_S) as client,
    ):

        def ask_cell(cell: Cell) -> list[str]:
            return _ask(contender, client, cell, (KEY, upstream.url.removeprefix("http://")))

        asked = [cell for cell in wall if cell.surface in contender.surfaces]
        # The first of each kind makes a gateway import and connect what it needs; that is not what is asked here.
        for cell in asked:
            if cell.fault.name == "ok":
                ask_cell(cell)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(asked, pool.map(ask_cell, asked), strict=True))
    return found


def _ask(contender: Contender, client: httpx.Client, cell: Cell, hidden: tuple[str, ...]) -> list[str]:
    try:
        answer: Answer = ask(client, cell.surface, contender.model(cell), cell.stream, contender.headers(cell))
    except httpx.TransportError as error:
        return [f"no answer ({type(error).__name__})"]
    wrong = problems(answer, cell.expected, cell.surface, cell.stream, hidden)
    # Not every gateway names its requests so.
    return wrong if contender.name == "Pulvinar" else [each for each in wrong if each != "no x-request-id"]


def table(found: dict[Cell, list[str]], surface: Surface, upstream: Protocol) -> str:
    """A row a fault; `·` where the cell holds, else how many things were wrong."""
    columns = [(stream, left) for stream in (False, True) for left in (True, False)]
    heads = [f"{'stream' if stream else 'whole'}, {'one' if left else 'none'} left" for stream, left in columns]
    lines = [f"{'':24s}" + "".join(f"{head:>20s}" for head in heads)]
    by_place = {
        (cell.fault.name, cell.stream, cell.healthy_left): wrong
        for cell, wrong in found.items()
        if (cell.surface, cell.upstream) == (surface, upstream)
    }
    for fault in FAULTS:
        if upstream in fault.upstreams:
            shown = [by_place[fault.name, stream, left] for stream, left in columns]
            lines.append(f"{fault.name:24s}" + "".join(f"{_short(wrong):>20s}" for wrong in shown))
    return "\n".join(lines)


def _short(wrong: Iterable[str]) -> str:
    first = next(iter(wrong), None)
    return _HELD if first is None else first.partition(":")[0].partition(" where ")[0][:18]


def main() -> None:
    """Print a table for every protocol of every gateway that is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="where scripts/peers installed them")
    parser.add_argument("--only", nargs="+", choices=["pulvinar", *_OTHERS], default=["pulvinar", *_OTHERS])
    parser.add_argument("--details", action="store_true", help="say of every cell what is wrong")
    chosen = parser.parse_args()
    folder = chosen.peers.resolve()
    with tempfile.TemporaryDirectory() as scratch, fault_upstream() as upstream, refusing_port() as port:
        place = Place(upstream.url, f"http://127.0.0.1:{port}")
        for name in chosen.only:
            home = Path(scratch) / name
            home.mkdir()
            if name == "pulvinar":
                _report(pulvinar(place, home, home), upstream, home, chosen.details)
                continue
            peer, contender = _OTHERS[name]
            if missing := absence(peer, folder):
                print(f"\n== {peer.name}: {missing}")
                continue
            _report(contender(place, home, folder / peer.key), upstream, home, chosen.details)


def _report(contender: Contender, upstream: Upstream, scratch: Path, details: bool) -> None:
    try:
        found = run(contender, upstream, scratch)
    except StartError as error:
        print(f"\n== {contender.name}: {error}")
        return
    for surface in contender.surfaces:
        for protocol in contender.upstreams:
            print(f"\n== {contender.name}: client speaks {surface}, upstream {protocol}")
            print(table(found, surface, protocol))
    held = sum(not wrong for wrong in found.values())
    print(f"\n{contender.name}: {held} of {len(found)} cells hold")
    kinds = collections.Counter(_short(wrong) for wrong in found.values() if wrong)
    print("   " + "; ".join(f"{count} × {kind}" for kind, count in kinds.most_common()))
    if details:
        for cell, wrong in found.items():
            for each in wrong:
                print(f"   {cell.name}: {each}")


if __name__ == "__main__":
    main()

"""Every fault of an upstream and its outcome for the client. The expected outcomes are in `faults.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.faults.cells import Cell, cells, hangs
from tests.faults.faults import Protocol
from tests.faults.gateways import KEY, KEY_VARIABLE, cell_cards, fault_card, short_timeouts
from tests.faults.surfaces import Response, problems, send
from tests.faults.upstream import Upstream, refusing_port
from tests.gateway.servers import gateway_server, wait_for

# litellm creates pydantic models during a call, and these warn.
# All cells are requested at once, so one process of a parallel run has them all.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:pydantic"), pytest.mark.xdist_group("fault matrix")]
CELLS = cells()
CONCURRENCY = 8
# These keep a machine busy for longer than the timeouts of the others.
HEAVY = ("huge-body",)
LONG_TIMEOUTS = {"first_token_s": 20.0, "idle_s": 20.0, "total_s": 25.0}


@pytest.fixture(scope="module")
def secrets(upstream: Upstream) -> tuple[str, ...]:
    return KEY, upstream.url.removeprefix("http://")


@contextlib.contextmanager
def gateway(upstream: Upstream, **limits_s: float) -> Iterator[httpx.Client]:
    """A gateway with the cards of all cells, so that a fault that affects the next request is found too."""
    with pytest.MonkeyPatch.context() as patch, refusing_port() as port:
        patch.setenv(KEY_VARIABLE, KEY)
        cards = [card for cell in CELLS for card in cell_cards(cell, upstream.url, f"http://127.0.0.1:{port}")]
        protocols: tuple[Protocol, ...] = ("chat", "messages")
        cards += [fault_card(f"warm-{protocol}", upstream.url, "ok", protocol) for protocol in protocols]
        with (
            gateway_server(*cards, config=short_timeouts(**limits_s)) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
        ):
            # The first calls import libraries; the measured ones must not wait for that.
            send(client, "openai", "warm-messages", stream=False)
            send(client, "anthropic", "warm-chat", stream=False)
            yield client


@pytest.fixture(scope="module")
def responses(upstream: Upstream, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Response]]]:
    """The responses of all selected cells, requested concurrently, since most cells wait most of the time."""
    of_module = (item for item in request.session.items if item.path == request.path)
    parameters = [item.callspec.params for item in of_module if hasattr(item, "callspec")]
    chosen = [values["cell"] for values in parameters if isinstance(values.get("cell"), Cell)]
    with (
        gateway(upstream) as fast_gateway,
        gateway(upstream, **LONG_TIMEOUTS) as slow_gateway,
        ThreadPoolExecutor(CONCURRENCY) as pool,
        # What hangs takes time and nothing else.
        ThreadPoolExecutor(len(CELLS)) as hanging,
        ThreadPoolExecutor(1) as sequential,
    ):

        def submitted(cell: Cell) -> Future[Response]:
            threads, client = (sequential, slow_gateway) if cell.fault.name in HEAVY else (pool, fast_gateway)
            threads = hanging if hangs(cell) else threads
            return threads.submit(send, client, cell.surface, f"auto[tag={cell.name}]", cell.stream)

        yield {cell.name: submitted(cell) for cell in sorted(chosen, key=hangs, reverse=True)}


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.name) for cell in CELLS])
def test_a_fault_has_the_expected_outcome_for_the_client(
    responses: dict[str, Future[Response]], upstream: Upstream, secrets: tuple[str, ...], cell: Cell
) -> None:
    found = problems(responses[cell.name].result(), cell.expected, cell.surface, cell.stream, secrets)
    assert not found, "\n".join(found)
    fallback_calls = [seen.model for seen in upstream.seen_at(f"{cell.name}.good")]
    assert fallback_calls == ["ok"] * cell.needs_fallback
    # No upstream call continues after the client has its response.
    assert wait_for(lambda: not upstream.open_at(f"{cell.name}.bad"), 1.0)

"""Every fault of an upstream, and what a client sees of it. The table is in `faults.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.faults.cells import Cell, cells
from tests.faults.faults import COMPLETE, Protocol
from tests.faults.gateways import KEY, KEY_VARIABLE, cell_cards, fault_card, short_timeouts
from tests.faults.surfaces import Answer, ask, problems
from tests.faults.upstream import Upstream, refusing_port
from tests.gateway.servers import gateway_server, wait_for

# litellm builds models of pydantic in the middle of a call, which warn.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydantic")
WALL = cells()
AT_ONCE = 8
# These keep a machine busy for longer than the others' limits of time, several at once the more so.
HEAVY = ("huge-body",)
PATIENT = {"first_token_s": 20.0, "idle_s": 20.0, "total_s": 25.0}


@pytest.fixture(scope="module")
def secrets(upstream: Upstream) -> tuple[str, ...]:
    return KEY, upstream.url.removeprefix("http://")


@contextlib.contextmanager
def gateway(upstream: Upstream, **limits_s: float) -> Iterator[httpx.Client]:
    """A gateway with the cards of the whole wall, so that a fault that harms the next request shows as well."""
    with pytest.MonkeyPatch.context() as patch, refusing_port() as port:
        patch.setenv(KEY_VARIABLE, KEY)
        cards = [card for cell in WALL for card in cell_cards(cell, upstream.url, f"http://127.0.0.1:{port}")]
        protocols: tuple[Protocol, ...] = ("chat", "messages")
        cards += [fault_card(f"warm-{protocol}", upstream.url, "ok", protocol) for protocol in protocols]
        with (
            gateway_server(*cards, config=short_timeouts(**limits_s)) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
        ):
            # What the first call of all imports, no other should wait for.
            ask(client, "openai", "warm-messages", stream=False)
            ask(client, "anthropic", "warm-chat", stream=False)
            yield client


@pytest.fixture(scope="module")
def answers(upstream: Upstream, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Answer]]]:
    """The answers to all cells that are tested, asked for side by side: most of them wait most of the time."""
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = [each["cell"] for each in parameters if isinstance(each.get("cell"), Cell)]
    with (
        gateway(upstream) as quick,
        gateway(upstream, **PATIENT) as patient,
        ThreadPoolExecutor(AT_ONCE) as pool,
        ThreadPoolExecutor(1) as in_turn,
    ):

        def asked(cell: Cell) -> Future[Answer]:
            threads, client = (in_turn, patient) if cell.fault.name in HEAVY else (pool, quick)
            return threads.submit(ask, client, cell.surface, f"auto[tag={cell.name}]", cell.stream)

        yield {cell.name: asked(cell) for cell in chosen}


@pytest.mark.parametrize("cell", WALL, ids=lambda cell: cell.name)
def test_a_client_sees_no_more_of_a_fault_than_it_must(
    answers: dict[str, Future[Answer]], upstream: Upstream, secrets: tuple[str, ...], cell: Cell
) -> None:
    wrong = problems(answers[cell.name].result(), cell.expected, cell.surface, cell.stream, secrets)
    assert not wrong, "\n".join(wrong)
    called = [seen.model for seen in upstream.seen_at(f"{cell.name}.good")]
    assert called == ["ok"] * (cell.healthy_left and not cell.fault.harmless and cell.expected == COMPLETE)
    # Nothing goes on upstream once the client has its answer.
    assert wait_for(lambda: not upstream.open_at(f"{cell.name}.bad"), 1.0)

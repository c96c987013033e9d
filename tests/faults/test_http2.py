"""A sample of the faults, and a client that leaves, with HTTP/2 from the gateway to HAProxy before the upstream."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from router.cards import Card
from router.store.records.record import Record
from tests.dispatch.http1.conftest import certificates
from tests.dispatch.http2.proxies import NEEDS_HAPROXY, haproxy
from tests.faults.cells import Cell, cells, hangs
from tests.faults.faults import FAULTS
from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card, short_timeouts
from tests.faults.surfaces import Response, problems, request_body, send
from tests.faults.upstream import Upstream
from tests.gateway.endpoints.test_completion import gateway_client
from tests.gateway.servers import wait_for

__all__ = ["certificates"]

pytestmark = [NEEDS_HAPROXY, pytest.mark.xdist_group("fault matrix")]
# Those that pass through HAProxy as they are, or as the same fault in HTTP/2.
NAMES = (
    *("ok", "rate-limited", "server-error", "hangs-before-headers", "hangs-mid-stream", "cuts-before-headers"),
    *(
        "cuts-after-headers",
        "cuts-mid-stream",
        "resets-mid-stream",
        "cuts-mid-event",
        "cuts-mid-chunk",
        "cuts-mid-body",
    ),
    *("error-mid-stream", "garbage-json", "slow-drip", "drops-reused", "mixed-line-ends", "compresses"),
)
CELLS = [
    cell
    for cell in cells([fault for fault in FAULTS if fault.name in NAMES], ("chat",))
    if (cell.surface == "openai") != cell.healthy_left
]
ENDLESS = "endless"


@pytest.fixture(scope="module")
def secure(upstream: Upstream, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HAProxy's URL."""
    port = int(upstream.url.rpartition(":")[2])
    with haproxy(port, certificates, tmp_path_factory.mktemp("haproxy")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def gateway(secure: str, certificates: Path) -> Iterator[tuple[httpx.Client, list[Record]]]:
    authority = str(certificates / "ca.pem")

    def card(name: str, fault: str, tag: str, price: float) -> Card:
        return fault_card(name, secure, fault, tags=(tag,), price=price, ca_bundle=authority)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        cards = [card(f"{cell.name}.bad", cell.fault.name, cell.name, 1.0) for cell in CELLS]
        cards += [card(f"{cell.name}.good", "ok", cell.name, 2.0) for cell in CELLS if cell.healthy_left]
        cards.append(card(ENDLESS, ENDLESS, ENDLESS, 5.0))
        config = msgspec.structs.replace(short_timeouts(), http2=True)
        with gateway_client(*cards, config=config) as (client, records):
            client.timeout = httpx.Timeout(30)
            yield client, records


@pytest.fixture(scope="module")
def responses(gateway: tuple[httpx.Client, list[Record]]) -> Iterator[dict[str, Future[Response]]]:
    with ThreadPoolExecutor(12) as pool:
        yield {
            cell.name: pool.submit(send, gateway[0], cell.surface, f"auto[tag={cell.name}]", cell.stream)
            for cell in sorted(CELLS, key=hangs, reverse=True)
        }


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_fault_has_the_outcome_that_it_has_with_http_1_1(
    responses: dict[str, Future[Response]], upstream: Upstream, secure: str, cell: Cell
) -> None:
    secrets = KEY, secure.removeprefix("https://")
    found = problems(responses[cell.name].result(), cell.expected, cell.surface, cell.stream, secrets)
    assert not found, "\n".join(found)
    # HAProxy refuses a stream (REFUSED_STREAM) to which it has sent nothing, even where it had passed the request on,
    # and such a request is sent again: so the fallback may have been called more than once.
    fallback_calls = {seen.model for seen in upstream.seen_at(f"{cell.name}.good")}
    assert fallback_calls == {"ok"} if cell.needs_fallback else not fallback_calls
    assert wait_for(lambda: not upstream.open_at(f"{cell.name}.bad"), 1.0)


def test_a_client_that_leaves_ends_the_call_and_is_billed_for_what_it_got(
    responses: dict[str, Future[Response]], gateway: tuple[httpx.Client, list[Record]], upstream: Upstream
) -> None:
    for each in responses.values():
        each.result()
    client, records = gateway
    with client.stream("POST", "/v1/chat/completions", json=request_body("openai", ENDLESS, True)) as response:
        next(response.iter_raw())
        assert upstream.open_at(ENDLESS)
    assert wait_for(lambda: not upstream.open_at(ENDLESS), 5.0)
    assert wait_for(lambda: any(record.outcome.card == ENDLESS for record in records), 5.0)
    outcome = next(record.outcome for record in records if record.outcome.card == ENDLESS)
    assert outcome.usage is not None
    assert outcome.usage.output_tokens > 0
    assert [seen.headers["x-http"] for seen in upstream.seen_at(ENDLESS)] == ["2"]

"""Which servers are offered HTTP/2: what a card says, else what gateway.yaml says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h2.errors
import pytest
from yarl import URL

from router.cards import Card, load_catalog
from router.cards.adapter.inheritance import inherited
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.availability import list_servers
from router.dispatch.configured import missing_configuration
from router.dispatch.connection.egress import target
from router.errors import ConfigurationError, UpstreamError
from tests.dispatch.calls import BODY
from tests.dispatch.http2.servers import Peer, server
from tests.gateway.servers import COMPLETION, make_card

HTTPS, HTTP = URL("https://model.test/v1"), URL("http://model.test/v1")


def card(**fields: Any) -> Card:
    return make_card("a", "https://model.test", **fields)


@pytest.mark.parametrize(
    ("of_card", "of_gateway", "is_offered"),
    [
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
        ("prior_knowledge", False, True),
    ],
)
def test_a_card_says_whether_http_2_is_offered_else_the_gateway(
    of_card: Any, of_gateway: bool, is_offered: bool
) -> None:
    origin = target(card(http2=of_card), HTTPS, of_gateway).origin
    assert (origin.http2_trust is not None) == is_offered
    assert not origin.is_http2


def test_without_tls_http_2_is_spoken_only_where_the_card_knows_that_the_server_does() -> None:
    assert target(card(http2="prior_knowledge"), HTTP).origin.is_http2
    assert not target(card(http2=True), HTTP).origin.is_http2
    assert not target(card(), HTTP, True).origin.is_http2


def test_the_offer_trusts_whom_the_card_trusts(certificates: Path) -> None:
    origin = target(card(http2=True, ca_bundle=str(certificates / "ca.pem")), HTTPS).origin
    assert origin.http2_trust is not None
    assert origin.trust is not None
    assert origin.http2_trust.get_ca_certs() == origin.trust.get_ca_certs()
    assert len(origin.http2_trust.get_ca_certs()) == 1


def test_h2_is_imported_only_where_a_server_may_speak_it() -> None:
    script = (
        "import asyncio, sys\nfrom router.dispatch import Dispatcher\n"
        "async def main():\n    await Dispatcher().aclose()\nasyncio.run(main())\n"
        "assert {'h2', 'hpack'}.isdisjoint(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_card_without_tls_cannot_ask_for_an_offer() -> None:
    with pytest.raises(ValueError, match="write prior_knowledge for a server without TLS"):
        make_card("a", "http://127.0.0.1:1", http2=True)


def test_http_2_needs_a_server_that_is_called_directly() -> None:
    problem = missing_configuration(make_card("a", "", provider="gemini", base_url=None, api_key_env="K", http2=True))
    assert problem is not None
    allowed = make_card("a", "", provider="gemini", base_url=None, api_key_env="K", http2=False)
    assert missing_configuration(allowed) == "K is not set"


def test_an_adapter_is_called_as_its_base_on_the_same_server() -> None:
    base = card(http2=True)
    adapter = Card(id="x", provider="openai", model="x", kind="adapter", base=base.id)
    assert inherited(adapter, base)["http2"] is True


def test_a_server_that_speaks_only_http_2_is_not_asked_for_its_models() -> None:
    one = make_card("a", "http://127.0.0.1:1", http2="prior_knowledge")
    assert asyncio.run(list_servers([one])).unavailable_cards([one]) == {}


def test_a_call_that_a_server_resets_is_paid_once_and_one_that_it_refuses_goes_to_the_next_card() -> None:
    begun: list[bytes] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            if b'"bad"' in request.body:
                peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
                await peer.flush()
            else:
                begun.append(request.body)
                if b'"cut"' in request.body:
                    peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
                    await peer.flush()
                else:
                    await peer.answer(request.stream, json.dumps(COMPLETION).encode())

    async def main() -> None:
        async with server(behave) as running:
            address = str(running.url.origin())
            cards = [make_card(name, address, name, http2="prior_knowledge") for name in ("bad", "ok", "cut")]
            dispatcher = Dispatcher(DispatchSettings(retries=0))
            try:
                response = await dispatcher.send_first_healthy(cards[:2], Call("chat", BODY, False, {}))
                assert (response.status, response.card.id, len(begun)) == (200, "ok", 1)
                with pytest.raises(UpstreamError) as caught:
                    await dispatcher.send_first_healthy(cards[2:], Call("chat", BODY, False, {}))
                assert (caught.value.fault, len(begun)) == ("cut", 2)
            finally:
                await dispatcher.aclose()

    asyncio.run(main())


def test_another_value_is_refused_with_the_words_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("id: a\nprovider: openai\nmodel: m\nhttp2: h2c\n")
    expected = 'a.yaml:4: http2: unknown value "h2c"; known: prior_knowledge, true, false'
    with pytest.raises(ConfigurationError, match=expected):
        load_catalog(tmp_path)

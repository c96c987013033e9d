"""What an error of one card means for the request, for the other cards and for the card's health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from router.cards import Card
from router.dispatch import Call, Dispatcher, DispatchSettings, UpstreamResponse
from router.errors import UpstreamError
from router.types import Attempt
from tests.dispatch.calls import BODY, unused_address
from tests.dispatch.errors_upstream import ErrorsUpstream, errors_upstream
from tests.gateway.servers import make_card


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[ErrorsUpstream]:
    for name in ("FIRST_KEY", "SECOND_KEY"):
        monkeypatch.setenv(name, f"sk-{name.lower()}-1234567890")
    with errors_upstream() as server:
        yield server


def cards_of(upstream: ErrorsUpstream, *models: str, **facts: Any) -> list[Card]:
    """A card for each model, `a`, `b` … in this order."""
    return [make_card(chr(97 + number), upstream.url, model, **facts) for number, model in enumerate(models)]


def send(*requests: list[Card], stream: bool = False) -> list[tuple[UpstreamResponse | UpstreamError, list[Attempt]]]:
    """The outcome and attempts of each request in turn, by one dispatcher."""

    async def main() -> list[tuple[UpstreamResponse | UpstreamError, list[Attempt]]]:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        outcomes: list[tuple[UpstreamResponse | UpstreamError, list[Attempt]]] = []
        try:
            for cards in requests:
                attempts: list[Attempt] = []
                call = Call("chat", {**BODY, "stream": stream}, stream)
                try:
                    response = await dispatcher.send_first_healthy(cards, call, attempts)
                except UpstreamError as error:
                    outcomes.append((error, attempts))
                    continue
                if not isinstance(response.body, bytes):
                    await response.body.aclose()
                outcomes.append((response, attempts))
            return outcomes
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


def answered(outcome: tuple[UpstreamResponse | UpstreamError, list[Attempt]]) -> tuple[str, int]:
    """The card and status of the response."""
    response, _ = outcome
    assert isinstance(response, UpstreamResponse)
    return response.card.id, response.status


CARD_FAULTS = ("credit", "key", "key-400", "tier", "tools", "template", "quota", "failing", "credit-in-200")


@pytest.mark.parametrize("model", [*CARD_FAULTS, "list-in-200", "unknown", "filter", "context", "context-4k"])
def test_another_card_is_tried_after(upstream: ErrorsUpstream, model: str) -> None:
    (outcome,) = send(cards_of(upstream, model, "ok"))
    assert (answered(outcome), upstream.asked) == (("b", 200), [model, "ok"])


@pytest.mark.parametrize("model", CARD_FAULTS)
def test_a_fault_of_a_card_is_no_reason_to_stop_at_the_second(upstream: ErrorsUpstream, model: str) -> None:
    (outcome,) = send(cards_of(upstream, model, model, model, "ok"))
    assert answered(outcome) == ("d", 200)


def test_an_error_in_a_stream_before_content_is_classified_alike(upstream: ErrorsUpstream) -> None:
    ((error, attempts),) = send(cards_of(upstream, "credit"), stream=True)
    assert isinstance(error, UpstreamError)
    assert (error.status, [attempt.fault for attempt in attempts]) == (502, ["credit"])


def test_an_invalid_request_ends_at_the_first_card(upstream: ErrorsUpstream) -> None:
    ((response, attempts),) = send(cards_of(upstream, "no-messages", "ok"))
    assert answered((response, attempts)) == ("a", 400)
    assert [attempt.fault for attempt in attempts] == [None]


def test_in_doubt_one_more_card_is_tried_and_the_first_error_is_returned(upstream: ErrorsUpstream) -> None:
    (outcome,) = send(cards_of(upstream, "unknown", "unknown-too", "ok"))
    assert (answered(outcome), upstream.asked) == (("a", 400), ["unknown", "unknown-too"])


def test_a_failing_server_does_not_settle_a_doubt(upstream: ErrorsUpstream) -> None:
    first, second = send(
        cards_of(upstream, "unknown", "failing", "ok"), cards_of(upstream, "failing", "unknown", "failing")
    )
    assert (answered(first), answered(second)) == (("c", 200), ("b", 400))


def test_where_all_fail_a_temporary_failure_says_more_than_a_refused_key(upstream: ErrorsUpstream) -> None:
    (outcome,) = send(cards_of(upstream, "quota", "key", "tier"))
    assert answered(outcome) == ("a", 429)


class TestContext:
    """A request that is too long goes to a card with more context."""

    def cards(self, upstream: ErrorsUpstream, *cards: tuple[str, int | None]) -> list[Card]:
        return [
            make_card(chr(97 + number), upstream.url, model, context_tokens=tokens)
            for number, (model, tokens) in enumerate(cards)
        ]

    def test_cards_with_less_context_are_left_out(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.cards(upstream, ("context", 8_000), ("small", 4_000), ("ok", 100_000)))
        assert (answered(outcome), upstream.asked) == (("c", 200), ["context", "ok"])

    def test_a_card_with_more_context_comes_before_one_with_the_same(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.cards(upstream, ("context", 8_000), ("same", 8_000), ("ok", 100_000)))
        assert (answered(outcome), upstream.asked) == (("c", 200), ["context", "ok"])

    def test_one_card_of_the_same_context_is_asked_where_none_has_more(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.cards(upstream, *[("context", 8_000)] * 4))
        assert (answered(outcome), upstream.asked) == (("b", 400), ["context", "context"])

    def test_the_error_states_the_context_better_than_the_card(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.cards(upstream, ("context-4k", 8_000), ("ok", 6_000)))
        assert answered(outcome) == ("b", 200)

    def test_a_card_whose_context_is_unknown_is_tried(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.cards(upstream, ("context", None), ("context", None), ("ok", None)))
        assert answered(outcome) == ("c", 200)


class TestSharedFate:
    """Cards with the same key at the same host are tried after the others."""

    def plan(self, upstream: ErrorsUpstream, other_url: str, model: str) -> list[Card]:
        first = {"api_key_env": "FIRST_KEY"}
        return [
            *cards_of(upstream, model, "same-key", "same-key", **first),
            make_card("other", other_url, "ok", api_key_env="SECOND_KEY"),
        ]

    @pytest.mark.parametrize("model", ["key", "key-400", "credit"])
    def test_after_a_refused_key_the_next_attempt_uses_another(self, upstream: ErrorsUpstream, model: str) -> None:
        (outcome,) = send(self.plan(upstream, upstream.url, model))
        assert (answered(outcome), upstream.asked) == (("other", 200), [model, "ok"])

    def test_the_next_request_begins_with_another_key(self, upstream: ErrorsUpstream) -> None:
        plan = self.plan(upstream, upstream.url, "key")
        _, second = send(plan, plan[1:])
        assert answered(second) == ("other", 200)

    def test_a_key_that_works_after_all_is_used_again(self, upstream: ErrorsUpstream) -> None:
        plan = self.plan(upstream, upstream.url, "key")
        _, named, third = send(plan, plan[1:2], plan[1:])
        assert (answered(named), answered(third)) == (("b", 200), ("b", 200))

    def test_a_card_with_the_refused_key_is_tried_where_no_other_is_left(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(self.plan(upstream, upstream.url, "key")[:2])
        assert answered(outcome) == ("b", 200)

    def test_a_refused_connection_concerns_all_cards_of_the_host(self, upstream: ErrorsUpstream) -> None:
        gone = unused_address()
        plan = [*(make_card(name, gone) for name in "abc"), make_card("other", upstream.url)]
        ((response, attempts),) = send(plan)
        assert answered((response, attempts)) == ("other", 200)
        assert [attempt.card for attempt in attempts] == ["a", "other"]

    def test_a_failing_model_does_not_concern_other_models_of_the_host(self, upstream: ErrorsUpstream) -> None:
        (outcome,) = send(cards_of(upstream, "failing", "same-host", api_key_env="FIRST_KEY"))
        assert answered(outcome) == ("b", 200)


class TestHealth:
    """A fault of the request leaves a card's health as it is; one that lasts cools it down at once."""

    def cooling(self, card: Card, times: int) -> bool:
        async def main() -> bool:
            dispatcher = Dispatcher(DispatchSettings(retries=0))
            try:
                for _ in range(times):
                    await dispatcher.send_first_healthy([card], Call("chat", BODY))
                return bool(dispatcher.pool.cooling_down())
            finally:
                await dispatcher.aclose()

        return asyncio.run(main())

    @pytest.mark.parametrize("model", ["unknown", "no-messages", "filter", "tools", "template", "context"])
    def test_a_fault_of_the_request_never_cools_a_card_down(self, upstream: ErrorsUpstream, model: str) -> None:
        assert not self.cooling(make_card("a", upstream.url, model), times=4)

    @pytest.mark.parametrize("model", ["key", "key-400", "credit", "quota", "credit-in-200"])
    def test_a_fault_that_lasts_cools_a_card_down_at_once(self, upstream: ErrorsUpstream, model: str) -> None:
        assert self.cooling(make_card("a", upstream.url, model), times=1)

    @pytest.mark.parametrize(("times", "expected"), [(2, False), (3, True)])
    def test_other_failures_count(self, upstream: ErrorsUpstream, times: int, expected: bool) -> None:
        assert self.cooling(make_card("a", upstream.url, "failing"), times) == expected

    def test_a_fault_of_the_request_is_no_success(self, upstream: ErrorsUpstream) -> None:
        async def main() -> bool:
            dispatcher = Dispatcher(DispatchSettings(retries=0))
            failing, asked = make_card("a", upstream.url, "failing"), make_card("a", upstream.url, "tools")
            try:
                for card in (failing, failing, asked, failing):
                    await dispatcher.send_first_healthy([card], Call("chat", BODY))
                return bool(dispatcher.pool.cooling_down())
            finally:
                await dispatcher.aclose()

        assert asyncio.run(main())


def test_the_log_names_the_host_and_the_variable_of_a_refused_key_but_no_key(
    upstream: ErrorsUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        send(cards_of(upstream, "key", api_key_env="FIRST_KEY"))
    assert f"a: {upstream.url} refuses the key in FIRST_KEY (HTTP 401)" in caplog.text
    assert "sk-" not in caplog.text

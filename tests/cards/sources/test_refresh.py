import datetime
from typing import Any

import msgspec
import pytest

from router.cards import Card
from router.cards.sources.refresh import RefreshReport, refresh_report
from router.errors import CallerError
from router.formats.quantities import read_quantity

TODAY = datetime.date(2026, 11, 26)


def card(name: str, **facts: Any) -> Card:
    plain = {"id": name, "provider": "acme", "model": name, "privacy": "public", **facts}
    return msgspec.convert(plain, Card, dec_hook=read_quantity)


def entry(provider: str = "acme", **fields: Any) -> dict[str, Any]:
    costs = {"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06}
    return {"litellm_provider": provider, "mode": "chat", **costs, **fields}


def report(*cards: Card, months: int = 6, limit: int = 5, provider: str | None = None) -> RefreshReport:
    return refresh_report(cards, TODAY, months, limit, provider)


def test_models_of_a_cards_provider_that_have_no_card_are_listed_with_the_highest_version_first(a_map: Any) -> None:
    a_map({name: entry() for name in ("wit-4", "wit-5.6-sol", "acme/wit-6-70b", "wit-5-4-mini", "wit-70b", "wit-1")})
    found = report(card("wit-1")).unlisted
    assert [model.model for model in found] == ["wit-6-70b", "wit-5.6-sol", "wit-5-4-mini", "wit-4", "wit-70b"]
    assert {(model.provider, model.price) for model in found} == {("acme", "input 1$, output 4$")}


def test_a_providers_models_are_not_listed_without_a_card_of_that_provider(a_map: Any) -> None:
    a_map({"wit-1": entry(), "other-9": entry("bolt")})
    assert report(card("wit-1")).unlisted == ()
    assert [model.model for model in report(card("wit-1"), provider="bolt").unlisted] == ["other-9"]


def test_snapshots_are_listed_once_with_the_date_in_their_name(a_map: Any) -> None:
    a_map({name: entry() for name in ("wit-5", "wit-5-2026-04-23", "wit-5-2026-07-01", "wit-4-2605")})
    found = [(model.model, model.released) for model in report(card("any")).unlisted]
    assert found == [("wit-5", datetime.date(2026, 4, 23)), ("wit-4", datetime.date(2026, 5, 1))]


def test_fine_tuned_models_moving_aliases_and_snapshots_of_a_card_are_no_new_models(a_map: Any) -> None:
    a_map({name: entry() for name in ("ft:wit-5", "wit-latest", "wit-5-2026-04-23", "old-name")})
    assert report(card("wit-5", aliases=["old-name"])).unlisted == ()


def test_the_list_of_a_provider_is_bounded_and_counts_the_others(a_map: Any) -> None:
    a_map({f"wit-{number}": entry() for number in range(1, 9)})
    found = report(card("any"), limit=2)
    assert [model.model for model in found.unlisted] == ["wit-8", "wit-7"]
    assert found.unlisted_total == 8


def test_a_card_whose_price_differs_from_the_map_states_the_old_and_the_new_price(a_map: Any) -> None:
    a_map({"acme/wit-1": entry(cache_read_input_token_cost=1e-07)})
    (found,) = report(card("wit-1", price={"input": "2$", "output": "4$"})).differences
    assert (found.card, found.entry) == ("wit-1", "acme/wit-1")
    assert found.changes == ("input 2$ -> 1$", "cached_input unknown -> 0.1$")


def test_a_card_with_the_price_of_the_map_is_not_reported(a_map: Any) -> None:
    a_map({"wit-1": entry()})
    assert report(card("wit-1", price={"input": "1$", "output": "4$"})).differences == ()


def test_a_card_whose_model_is_no_longer_in_the_map_is_reported(a_map: Any) -> None:
    a_map({"wit-2": entry()})
    (found,) = report(card("wit-1")).differences
    assert (found.card, found.entry, found.changes) == ("wit-1", None, ())


def test_a_model_of_ones_own_needs_no_entry_in_the_map_and_no_published_latency(a_map: Any) -> None:
    a_map({})
    found = report(card("mine", privacy="local"), card("ours", privacy="private"))
    assert found.differences == ()
    assert {each.missing for each in found.incomplete} == {("benchmarks", "released")}


def test_benchmarks_older_than_the_months_and_undated_ones_are_old(a_map: Any) -> None:
    a_map({})
    benchmarks = {
        "mmlu": {"score": 80, "source": "s", "date": "2026-05-25"},
        "gpqa": {"score": 60, "source": "s", "date": "2026-05-26"},
        "math": {"score": 70, "source": "s"},
    }
    (found,) = report(card("wit-1", benchmarks=benchmarks)).old_facts
    assert (found.benchmarks, found.total) == (("mmlu", "math"), 3)
    assert found.oldest == datetime.date(2026, 5, 25)


@pytest.mark.parametrize(
    ("day", "months", "before"),
    [
        ((2026, 11, 26), 6, (2026, 5, 26)),
        ((2026, 2, 28), 14, (2024, 12, 28)),
        ((2026, 8, 31), 6, (2026, 2, 28)),
        ((2026, 1, 15), 0, (2026, 1, 15)),
    ],
)
def test_months_are_counted_in_the_calendar(
    a_map: Any, day: tuple[int, int, int], months: int, before: tuple[int, int, int]
) -> None:
    a_map({})
    assert refresh_report([], datetime.date(*day), months, 5).before == datetime.date(*before)


def test_a_card_without_benchmarks_release_date_or_latency_is_reported(a_map: Any) -> None:
    a_map({})
    benchmarks = {"mmlu": {"score": 80, "source": "s", "date": "2026-10"}}
    whole = card("whole", benchmarks=benchmarks, released="2026-10", latency={"tpot": "5ms"})
    found = report(whole, card("bare"))
    assert [(each.card, each.missing) for each in found.incomplete] == [("bare", ("benchmarks", "released", "latency"))]


def test_a_provider_restricts_the_whole_report(a_map: Any) -> None:
    a_map({"wit-2": entry(), "acme/wit-1": entry(), "volt-2": entry("bolt")})
    found = report(card("wit-1"), card("volt-1", provider="bolt"), provider="bolt")
    assert [model.model for model in found.unlisted] == ["volt-2"]
    assert {each.card for each in (*found.differences, *found.incomplete)} == {"volt-1"}


def test_an_unknown_provider_is_an_error_that_names_the_similar_one(a_map: Any) -> None:
    a_map({"wit-1": entry()})
    with pytest.raises(CallerError, match='the provider "acmee"; did you mean "acme"'):
        report(card("wit-1"), provider="acmee")

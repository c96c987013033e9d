import json

from tests.commands.conftest import Run


def test_refresh_reports_new_models_differences_old_facts_and_gaps(run: Run) -> None:
    ended = run("cards", "refresh", "--today", "2026-11-26")
    assert ended.code == 0
    titles = (
        "Models of the price map",
        "Cards that differ from the price map",
        "Cards with benchmarks older than 2026-05-26",
        "Cards without benchmarks, release date or latency",
    )
    assert [title for title in titles if title not in ended.out] == []
    assert "llama-3.1-8b-instruct" in ended.out


def test_refresh_prints_json(run: Run) -> None:
    ended = run("cards", "refresh", "--json", "--provider", "openai", "--months", "3", "--today", "2026-11-26")
    report = json.loads(ended.out)
    assert report["before"] == "2026-08-26"
    assert {model["provider"] for model in report["unlisted"]} == {"openai"}
    assert "gpt-4o" in {facts["card"] for facts in report["old_facts"]}


def test_refresh_rejects_a_day_that_is_none(run: Run) -> None:
    ended = run("cards", "refresh", "--today", "soon")
    assert ended.code != 0
    assert "--today: expected a date such as 2025-03" in ended.err


def test_refresh_rejects_an_unknown_provider(run: Run) -> None:
    ended = run("cards", "refresh", "--provider", "opnai")
    assert ended.code != 0
    assert 'did you mean "openai"?' in ended.err

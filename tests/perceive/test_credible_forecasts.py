"""The release gate: the shipped predictor orders the shipped cards as the facts on the cards and common knowledge do.

Every test measures the artifact and the cards of this repository, on its own everyday prompts. The failure message
names the cards or prompts that are out of order.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from router import settings
from router.cards.catalog import Catalog, load_catalog
from router.cards.price import Price
from router.cards.schema import Card
from router.decide.policy import load_policies
from router.perceive.features import Perceiver
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from router.pipeline import Router
from router.types import Doubles, Floats
from router.wire import ChatRequest

EVERYDAY = Path(__file__).parents[2] / "data" / "everyday"
ARTIFACT = Path(__file__).parents[2] / "router" / "shipped" / "predictor"
SAMPLE = 300

CLEAR = {"lmarena_text": 40.0, "aa_index_4_3": 8.0}
"""From which difference on a ladder is sure of an order."""

NOT_BELOW = (
    ("claude-opus-5-5", "claude-opus-5"),
    ("claude-sonnet-5-5", "claude-sonnet-5"),
    ("claude-haiku-5-5", "claude-haiku-4-5"),
    ("claude-opus-5-5", "claude-sonnet-5-5"),
    ("claude-sonnet-5-5", "claude-haiku-5-5"),
    ("gpt-4o", "gpt-4o-mini"),
    ("gpt-6-astra", "gpt-6-luna"),
    ("gpt-6.1-sol", "gpt-4o"),
    ("gemini-4-argon", "gemini-3.1-pro-preview"),
    ("gemini-3.5-flash", "gemini-2.5-flash"),
    ("gemini-3.8-flash", "gemini-3.5-flash"),
    ("gemini-3.5-flash", "gemini-3.5-flash-lite"),
    ("deepseek-v4-pro", "deepseek-v4-flash"),
    ("kimi-k3", "kimi-k2.6"),
    ("mistral-large-4", "mistral-medium-3-5"),
    ("groq/gpt-oss-120b", "groq/gpt-oss-20b"),
    ("llama-3.1-70b-instruct", "llama-3.1-8b-instruct"),
    ("llama-3.1-70b-instruct", "llama-3-70b-instruct"),
    ("llama-3.1-8b-instruct", "llama-3-8b-instruct"),
    ("llama-3-70b-instruct", "llama-3-8b-instruct"),
    ("mixtral-8x7b-instruct", "mistral-7b-instruct-v0.2"),
    ("qwen1.5-72b-chat", "qwen1.5-7b-chat"),
    ("qwen2.5-7b-instruct", "qwen1.5-7b-chat"),
)
"""Siblings and successors: the first is not forecast below the second."""

FRONTIER = ("claude-opus-5-5", "claude-fable-5-1", "gpt-6-astra", "gpt-6.1-sol", "gemini-4-argon")
SMALL = ("llama-3.1-8b-instruct", "qwen2.5-7b-instruct", "gemma-2-9b-it")
CHEAP = ("gpt-4o-mini", "llama-3.1-8b-instruct")
GREETINGS = (
    "What is the capital of Australia?",
    "What's the capital of France?",
    "2+2",
    "what is 2 + 2?",
    "hi",
    "Hello!",
)
LOCK_FREE = (
    "Implement a lock-free skip list in Rust with hazard pointers for memory reclamation, including concurrent insert,"
    " remove and range scans, and argue why it is linearizable."
)

GERMAN = (
    "Übersetze ins Deutsche: The meeting has been moved to Thursday at three.",
    "Translate into German: We regret that your order cannot be delivered before the end of the month.",
    "Übersetze den folgenden Absatz ins Deutsche und halte den Ton: The tenant shall give notice in writing.",
    "Bitte übersetze: I would have called you if I had known that you were in town.",
    "How do you say 'I'm looking forward to seeing you' in German?",
)
OTHER_DOMAINS = (
    "取引先への納期遅延のお詫びメールを丁寧な日本語で書いてください。",
    "Rédige une clause de confidentialité pour un contrat de prestation soumis au droit français.",
    "Write a SQL query with window functions that finds gaps in a sequence of invoice numbers per branch.",
    "Write a sonnet about a lighthouse keeper in strict iambic pentameter.",
    "Prove that every continuous function on a compact metric space is uniformly continuous.",
)
"""Languages and tasks in which no model of 2023 is the best of today."""


REWORDED = (
    (
        "Summarise the causes of the First World War in five sentences.",
        "Hi there, I hope you are well! I have a small request: could you please summarise the causes of the First"
        " World War in five sentences for me? Thank you so much in advance.",
    ),
    (
        "What is the boiling point of water at 3000 m altitude?",
        "Good morning. I was wondering, if it is not too much trouble, what is the boiling point of water at 3000 m"
        " altitude? Thanks!",
    ),
    (
        "Write a Python function that removes duplicates from a list and keeps the order.",
        "Hello, I'm working on something and need some help: please write a Python function that removes duplicates"
        " from a list and keeps the order. Much appreciated.",
    ),
    (
        "Write a SQL query that returns the three best customers of each month by revenue.",
        "Hey! Quick question for you. Could you write a SQL query that returns the three best customers of each month"
        " by revenue? Many thanks.",
    ),
    (
        "Write an apology to Anna for missing her birthday dinner.",
        "Write an apology to Rachel for missing her birthday dinner.",
    ),
    (
        "Tom has 12 apples and gives Lisa a third of them. How many has he left?",
        "Ahmed has 12 apples and gives Ingrid a third of them. How many has he left?",
    ),
    (
        "Draft an email to Mr Keller that declines the offer politely.",
        "Draft an email to Ms Okafor that declines the offer politely.",
    ),
    (
        "Is it legal to record a phone call in California?",
        "Hi, just curious about something, is it legal to record a phone call in California? Thank you.",
    ),
    (
        "Translate 'Where is the nearest pharmacy?' into Spanish.",
        "Hello! Please could you translate 'Where is the nearest pharmacy?' into Spanish for me? Thanks a lot.",
    ),
    (
        "Prove that the square root of 2 is irrational.",
        "Good evening, I would be grateful if you could prove that the square root of 2 is irrational. Thank you.",
    ),
    (
        "Explain recursion to a ten-year-old.",
        "Hey, hope you're having a nice day. Please explain recursion to a ten-year-old. Thanks!",
    ),
    (
        "Give me a recipe for pancakes without eggs.",
        "Hi! I'd love your help with something: give me a recipe for pancakes without eggs, please. Thank you!",
    ),
    ("Fix the grammar: He go to school yesterday.", "Please fix the grammar: He go to school yesterday. Thanks."),
    (
        "Maria and Paul share a flat. Maria pays 60 % of 1,450 euros. How much does Paul pay?",
        "Yuki and Femi share a flat. Yuki pays 60 % of 1,450 euros. How much does Femi pay?",
    ),
    (
        "Design a schema for a multi-tenant billing system with proration and credit notes.",
        "Hi, I have a task for you: please design a schema for a multi-tenant billing system with proration and credit"
        " notes. Thank you very much!",
    ),
    (
        "What is the difference between a virus and a bacterium?",
        "Dear assistant, may I ask you, what is the difference between a virus and a bacterium? Kind regards",
    ),
    ("Suggest a name for a small bakery.", "Hello there! Could you suggest a name for a small bakery? Thanks!"),
    ("Write a haiku about the sea.", "Hi, please write a haiku about the sea. Thank you!"),
    ("Who wrote 'Pride and Prejudice'?", "Hello, quick one: who wrote 'Pride and Prejudice'? Thanks!"),
    (
        "Convert 72 degrees Fahrenheit to Celsius.",
        "Hey there, please convert 72 degrees Fahrenheit to Celsius. Thanks!",
    ),
)
"""The same ask twice: in a few words and wrapped in politeness, or with other names."""


@pytest.fixture(scope="module")
def shipped(encoder: StaticEncoder) -> Router:
    """A router over the shipped cards, policies and predictor, without anybody's probes."""
    catalog = load_catalog(settings.shipped_cards_folder())
    policies = load_policies(settings.shipped_policies_folder(), catalog)
    return Router(catalog, policies, Predictor.load(ARTIFACT, encoder))


@pytest.fixture(scope="module")
def levels() -> dict[str, tuple[int, int]]:
    """The difficulties that both graders give each everyday prompt."""
    found: dict[str, list[int]] = {}
    with (EVERYDAY / "grades.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["prompt_id"], []).append(int(row["difficulty"]))
    return {name: (both[0], both[1]) for name, both in found.items()}


@pytest.fixture(scope="module")
def everyday() -> dict[str, dict[str, Any]]:
    """The everyday prompts by their ids."""
    lines = (EVERYDAY / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt_id"]: row for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def sample(everyday: dict[str, dict[str, Any]], shipped: Router) -> Floats:
    """The feature vectors of about 300 everyday prompts, the same each time."""
    names = sorted(everyday)
    return vectors(shipped.predictor, [everyday[name] for name in names[:: len(names) // SAMPLE]])


@pytest.fixture(scope="module")
def usual(shipped: Router, sample: Floats) -> dict[str, float]:
    """The mean forecast of each card over the sample."""
    return means(shipped.predictor, shipped.catalog, sample)


def request_of(row: dict[str, Any]) -> ChatRequest:
    messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
    return ChatRequest.from_body({"model": "auto", "messages": messages, "tools": row.get("tools") or []})


def vectors(predictor: Predictor, rows: Sequence[dict[str, Any]]) -> Floats:
    perceive = Perceiver(predictor.encoder, predictor.reader)
    return np.array([perceive(request_of(row)).vector for row in rows])


def forecasts(router: Router, prompts: Sequence[str]) -> Doubles:
    """The expected qualities `(prompts, cards)`."""
    rows = vectors(router.predictor, [{"prompt": prompt} for prompt in prompts])
    return router.predictor.bind(router.catalog).qualities(rows)


def means(predictor: Predictor, catalog: Catalog, rows: Floats) -> dict[str, float]:
    return dict(zip(catalog.ids, predictor.bind(catalog).qualities(rows).mean(axis=0).tolist(), strict=True))


def columns(router: Router, names: Sequence[str]) -> list[int]:
    return [router.catalog.ids.index(name) for name in names]


def clearly_ordered(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """The pairs (better, worse) of models that both ladders order clearly, or one does and the other is not known."""
    models = [card for card in catalog if "@" not in card.id]
    for better, worse in itertools.permutations(models, 2):
        leads = {
            name: better.benchmarks[name].score - worse.benchmarks[name].score
            for name in CLEAR
            if name in better.benchmarks and name in worse.benchmarks
        }
        if leads and all(lead > CLEAR[name] for name, lead in leads.items()):
            yield better.id, worse.id


def test_cards_are_ordered_as_the_ladders_on_them(shipped: Router, usual: dict[str, float]) -> None:
    pairs = list(clearly_ordered(shipped.catalog))
    wrong = [
        f"{better} {usual[better]:.3f} < {worse} {usual[worse]:.3f}"
        for better, worse in pairs
        if usual[better] <= usual[worse]
    ]
    assert len(pairs) >= 100
    assert len(wrong) <= 0.05 * len(pairs), f"{len(wrong)} of {len(pairs)}: {'; '.join(wrong)}"


@pytest.mark.parametrize(("better", "worse"), NOT_BELOW)
def test_a_larger_sibling_or_a_successor_is_not_forecast_below(
    usual: dict[str, float], better: str, worse: str
) -> None:
    assert usual[better] >= usual[worse], f"{better} {usual[better]:.3f} < {worse} {usual[worse]:.3f}"


@pytest.mark.parametrize("family", ["claude", "gpt", "gemini", "deepseek", "mistral", "kimi"])
def test_a_new_card_with_a_date_and_a_price_is_not_below_older_and_cheaper_ones_of_its_family(
    shipped: Router, sample: Floats, family: str
) -> None:
    known = [
        Card(
            id=f"{card.id}-by-date-and-price",
            provider=card.provider,
            model=f"{card.id}-by-date-and-price",
            family=family,
            released=card.released,
            price=card.price,
        )
        for card in shipped.catalog
        if card.family == family and "@" not in card.id and card.released and card.price and card.price.output_usd
    ]
    dearest = max((card.price for card in known if card.price), key=lambda price: price.output_usd)
    new = msgspec.structs.replace(
        known[0],
        id="new",
        model="new",
        released=datetime.date(2026, 12, 1),
        price=Price(dearest.input_usd, dearest.output_usd),
    )
    found = means(shipped.predictor, Catalog([*known, new]), sample)
    above = {name: round(value, 3) for name, value in found.items() if value > found["new"]}
    assert len(known) >= 2
    assert not above, f"new {found['new']:.3f} is below {above}"


def test_adding_removing_and_editing_a_card_moves_no_other_forecast(shipped: Router, sample: Floats) -> None:
    rows, cards = sample[:20], [card for card in shipped.catalog if "@" not in card.id]
    before = shipped.predictor.bind(shipped.catalog).qualities(rows)
    own = dict(zip(shipped.catalog.ids, before.T, strict=True))
    added = Card(id="added", provider="openai", model="added", family="gpt", released=datetime.date(2026, 11, 1))
    edited = msgspec.structs.replace(cards[0], released=None, benchmarks={}, price=None)
    for changed in ([*cards, added], cards[1:], [edited, *cards[1:]], cards[::2]):
        catalog = Catalog(changed)
        after = shipped.predictor.bind(catalog).qualities(rows)
        moved = [
            name
            for name, column in zip(catalog.ids, after.T, strict=True)
            if name in own and not name.startswith(cards[0].id) and not np.array_equal(column, own[name])
        ]
        assert not moved


def test_small_cards_are_trusted_with_trivial_prompts(
    shipped: Router, everyday: dict[str, dict[str, Any]], levels: dict[str, tuple[int, int]]
) -> None:
    trivial = sorted(name for name, both in levels.items() if both == (1, 1) and everyday[name]["language"] == "en")
    trivial = trivial[:: max(len(trivial) // 100, 1)]
    rows = vectors(shipped.predictor, [everyday[name] for name in trivial])
    quality = shipped.predictor.bind(shipped.catalog).qualities(rows)[:, columns(shipped, SMALL)]
    low = {name: row.round(2).tolist() for name, row in zip(trivial, quality, strict=True) if row.min() < 0.85}
    assert len(trivial) >= 100
    # The aim is 0.9 (docs/predictor.md, Limits); below two thirds a release is worse than the last one.
    assert (quality >= 0.85).mean() >= 2 / 3, f"{(quality >= 0.85).mean():.0%} of {SMALL}: {low}"


def test_frontier_cards_lead_on_expert_prompts_and_not_on_trivial_ones(
    shipped: Router, everyday: dict[str, dict[str, Any]], levels: dict[str, tuple[int, int]]
) -> None:
    leads = {}
    for level in (1, 5):
        names = sorted(name for name, both in levels.items() if both == (level, level))
        names = names[:: max(len(names) // 60, 1)]
        rows = vectors(shipped.predictor, [everyday[name] for name in names])
        quality = shipped.predictor.bind(shipped.catalog).qualities(rows)
        leads[level] = float(
            np.mean(
                quality[:, columns(shipped, FRONTIER)].max(axis=1) - quality[:, columns(shipped, SMALL)].max(axis=1)
            )
        )
    assert leads[5] >= 0.25, leads
    assert leads[1] <= 0.15, leads


@pytest.mark.parametrize("prompt", GREETINGS)
def test_a_small_card_is_trusted_with_what_everybody_knows(shipped: Router, prompt: str) -> None:
    quality = forecasts(shipped, [prompt])[0, columns(shipped, CHEAP)]
    assert quality.min() >= 0.85, dict(zip(CHEAP, quality.round(3).tolist(), strict=True))


def test_a_small_card_is_not_trusted_with_lock_free_memory_reclamation(shipped: Router) -> None:
    hard, easy = forecasts(shipped, [LOCK_FREE, "Write a hello world program in Rust."])
    small, strong = columns(shipped, ["gpt-4o-mini"])[0], columns(shipped, ["claude-opus-5-5"])[0]
    assert hard[small] <= 0.6
    assert hard[small] <= easy[small] - 0.25
    assert hard[small] <= hard[strong] - 0.2


@pytest.mark.parametrize("prompt", [*GERMAN, *OTHER_DOMAINS])
def test_the_best_card_in_any_language_and_task_is_no_model_of_2023(shipped: Router, prompt: str) -> None:
    chosen = shipped.route(request_of({"prompt": prompt}), policy="best").decision.card
    released = shipped.catalog.named(chosen).released
    assert released is not None
    assert released.year >= 2025, f"{chosen} of {released}"


@pytest.mark.parametrize("policy", ["best", "default", "cheap"])
def test_the_same_ask_goes_to_the_same_card(shipped: Router, policy: str) -> None:
    other = []
    for short, long in REWORDED:
        plain, reworded = (shipped.route(request_of({"prompt": text}), policy=policy) for text in (short, long))
        one, two = plain.decision.card, reworded.decision.card
        places = [shipped.catalog.ids.index(card) for card in (one, two)]
        # Between cards of the same forecast either is right.
        if abs(float(np.diff(plain.forecast.quality[places])[0])) > 0.02:
            other.append(f"{short!r}: {one}, {two}")
    assert len(other) <= 0.1 * len(REWORDED), "; ".join(other)

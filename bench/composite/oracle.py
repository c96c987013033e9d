"""Composite prompts before adapters each of which answers right for its own domain and for no other.

The adapters are cards with graded probes: some prompts of their domain, answered right, and as many of others, answered
wrong. The tasks of the composites are not among them. So the share of right answers shows the splitter and the router,
and nothing of how good a model is.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from bench.composite.prompts import STYLES, Composite, Task, composites, load_tasks
from router import settings
from router.cards import Card, Catalog
from router.compose.split import split
from router.decide.plans.segments import plan_segments
from router.decide.policy import Policies, Policy
from router.formats.quantities import TokenCount
from router.loading import load_predictor
from router.perceive.ability.evidence import ProbeOutcome
from router.pipeline import Router
from router.wire import ChatRequest

SIZES = (2, 3, 5, 10)
PROBES = 16
"""Graded prompts of the adapter's own domain, and as many of others."""
_MOST_CALLS = 16
_NO_TIME = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()
PLAIN = Policy(id="plain", description="no limits, no goals")


class Scores(Struct, frozen=True):
    """Means over the prompts of one style and size.

    `boundaries`: the share of prompts whose tasks came out exactly. `domains`: the share of tasks that went to the
    adapter of their domain. `attempted` and `correct` are tasks of a prompt, with segments; `best_single` and `unsplit`
    are the right ones where one adapter answers all: the best for all prompts, or the one the router takes for the
    whole prompt.
    """

    style: str
    size: int
    prompts: int
    boundaries: float
    domains: float
    attempted: float
    correct: float
    best_single: float
    unsplit: float


def oracle_router(probes: Mapping[str, Sequence[Task]]) -> Router:
    """A router over one adapter for each domain and their base, which know `probes`."""
    base = Card("base", "hosted_vllm", "base", base_url="http://127.0.0.1:9/v1", context_tokens=TokenCount(128_000))
    cards = [base, *(Card(name, "hosted_vllm", name, kind="adapter", base="base") for name in sorted(probes))]
    predictor = load_predictor(settings.default_artifact_folder())
    rng = random.Random(0)
    outcomes: dict[str, list[ProbeOutcome]] = {"base": []}
    for name in sorted(probes):
        others = rng.sample([task for other, tasks in probes.items() if other != name for task in tasks], PROBES)
        outcomes[name] = [graded(task, float(task.domain == name)) for task in (*probes[name], *others)]
        outcomes["base"].append(graded(probes[name][0], 0.0))
    return Router(Catalog(cards), Policies([PLAIN]), predictor, predictor.evidence_of(outcomes))


def graded(task: Task, score: float) -> ProbeOutcome:
    """A probe of this task, answered with this score."""
    return ProbeOutcome(task.text[:60], task.domain, task.text, "exact", score, "", "", _NO_TIME, 1.0)


def scores_of(router: Router, text: str) -> dict[str, float]:
    """The score of every card for `text` alone, the lower the better."""
    routed = router.route(ChatRequest.from_prompt(text), policy=PLAIN)
    return {candidate.card: candidate.score for candidate in routed.decision.candidates}


def measure(
    file: Path, count: int, sizes: Sequence[int] = SIZES, styles: Sequence[str] = tuple(STYLES)
) -> list[Scores]:
    """Score `count` prompts of each style and size."""
    tasks = load_tasks(file)
    router = oracle_router({domain: of_domain[:PROBES] for domain, of_domain in tasks.items()})
    kept = {domain: of_domain[PROBES:] for domain, of_domain in tasks.items()}
    return [_score(router, composites(kept, style, size, count)) for size in sizes for style in styles]


def _score(router: Router, prompts: Sequence[Composite]) -> Scores:
    exact = right = attempted = correct = unsplit = 0
    by_adapter: dict[str, int] = {}
    for prompt in prompts:
        wanted = {_plain(task.text): task.domain for task in prompt.tasks}
        parts = split(prompt.text).segments
        texts = [_plain(part.text) for part in parts]
        exact += texts == [_plain(task.text) for task in prompt.tasks]
        whole_scores = scores_of(router, prompt.text)
        whole = min(whole_scores, key=lambda card: (whole_scores[card], card))
        unsplit += whole in wanted.values()
        for domain in wanted.values():
            by_adapter[domain] = by_adapter.get(domain, 0) + 1
        tables = [scores_of(router, part.text) for part in parts]
        plan = plan_segments([part.depends for part in parts], tables.__getitem__, whole, most_calls=_MOST_CALLS)
        for text, table in zip(texts, tables, strict=True):
            right += wanted.get(text) == min(table, key=lambda card: (table[card], card))
        for group in plan.groups:
            for number in group.segments:
                attempted += texts[number] in wanted
                correct += wanted.get(texts[number]) == group.card
    count, size = len(prompts), len(prompts[0].tasks)
    return Scores(
        style=prompts[0].style,
        size=size,
        prompts=count,
        boundaries=round(exact / count, 4),
        domains=round(right / (count * size), 4),
        attempted=round(attempted / count, 3),
        correct=round(correct / count, 3),
        best_single=round(max(by_adapter.values()) / count, 3),
        unsplit=round(unsplit / count, 3),
    )


def _plain(text: str) -> str:
    return " ".join(text.split())

"""One run: choose cards, ask them the examples, and compare plans on the answers."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from router.compose.gate import Gate
from router.decide.plans.spec import PlanSpec
from router.decide.policy import Policy
from router.dispatch import Dispatcher
from router.errors import CallerError
from router.learn.solving.answer_log import Answered, AnswerLog, earlier
from router.learn.solving.ask import Asking, Wait, ask_examples, asked_of, worst_usd_of
from router.learn.solving.candidates import Cards, choose_cards, plans_of
from router.learn.solving.evaluate import Answers, behaviours, given_of
from router.learn.solving.findings import findings
from router.learn.solving.result import Solution, compare
from router.learn.solving.task import Task
from router.pipeline import Router

_DEFAULT_MISTAKE_USD = 1.0
_DECIMALS = 9


class Outline(Struct, frozen=True):
    """What a run would ask: calls that are still to be made, what they cost by forecast and at most, and how much of
    the budget is left. `left_out` has the reason for every card that is not asked.
    """

    task: str
    examples: int
    cards: tuple[str, ...]
    left_out: Mapping[str, str]
    calls: int
    forecast_usd: float
    worst_usd: float
    left_usd: float
    max_usd: float
    plans: int


def log_file(task_file: Path) -> Path:
    """The file of the answers, beside the task."""
    return task_file.with_suffix(".answers.jsonl")


def prepare(
    router: Router, task: Task, policy: str, unavailable: Mapping[str, str], today: datetime.date | None = None
) -> Cards:
    """The cards to ask. Raises NoCandidateError where there are none."""
    return choose_cards(router, task, _policy(router, task, policy), unavailable, today)


def outline(router: Router, task: Task, cards: Cards, file: Path, max_usd: float) -> Outline:
    """What a run would ask. Calls and writes nothing."""
    before = earlier(file)
    calls, forecast_usd, worst_usd = 0, 0.0, 0.0
    for probe, routed in zip(task.probes, cards.routed, strict=True):
        for card in cards.cards:
            if asked_of(task, card, probe) in before.answers:
                continue
            expected = float(routed.forecast.cost_usd[router.catalog.ids.index(card.id)])
            worst = worst_usd_of(card, probe, task.max_tokens)
            calls += 1
            worst_usd += worst
            forecast_usd += worst if math.isnan(expected) else min(expected, worst)
    names = tuple(card.id for card in cards.cards)
    return Outline(
        task=task.name,
        examples=len(task.probes),
        cards=names,
        left_out=dict(sorted(cards.left_out.items())),
        calls=calls,
        forecast_usd=round(forecast_usd, _DECIMALS),
        worst_usd=round(worst_usd, _DECIMALS),
        left_usd=round(max(max_usd - before.spent_usd, 0.0), _DECIMALS),
        max_usd=max_usd,
        plans=len(names) * ("single" in task.kinds) + sum(1 for _ in plans_of(task, names)),
    )


async def solve(
    router: Router,
    task: Task,
    cards: Cards,
    log: AnswerLog,
    dispatcher: Dispatcher,
    gate: Gate,
    *,
    max_usd: float,
    concurrency: int = 4,
    on_asking: Callable[[Asking], None] = lambda _: None,
    on_comparing: Callable[[int, int], None] = lambda done, total: None,
    wait: Wait = asyncio.sleep,
) -> tuple[Solution, Mapping[str, PlanSpec]]:
    """Ask what is not answered yet, then compare. Gives the plans by id too, so that one can be saved.

    Raises CallerError where no example was answered by every card.
    """
    before_usd = log.account.spent_usd
    asking = await ask_examples(
        task,
        cards.cards,
        log,
        dispatcher,
        max_usd=max_usd,
        concurrency=concurrency,
        on_progress=on_asking,
        wait=wait,
    )
    kept = [card for card in cards.cards if card.id not in asking.failed]
    if not kept:
        reason = next(iter(asking.failed.values()), "")
        raise CallerError(f"no card answered: {reason}")
    rows = [
        (number, [log.account.answers.get(asked_of(task, card, probe)) for card in kept])
        for number, probe in enumerate(task.probes)
    ]
    complete = [(number, row) for number, row in rows if all(each is not None for each in row)]
    if len(complete) < 2:
        raise CallerError(
            f"{len(complete)} of {len(task.probes)} examples were answered by all {len(kept)} cards within "
            f"{max_usd:g}$, which is too few to compare them; raise max_usd, lower max_tokens, or name fewer cards"
        )
    answers = Answers(
        tuple(card.id for card in kept),
        tuple(
            tuple(given_of(card, task.probes[number], _known(each)) for card, each in zip(kept, row, strict=True))
            for number, row in complete
        ),
    )
    plans = list(plans_of(task, answers.cards))
    routed = [cards.routed[number] for number, _ in complete]
    done = behaviours(plans, answers, router, routed, gate, on_comparing)
    mistake_usd = routed[0].policy.mistake_usd or _DEFAULT_MISTAKE_USD
    comparison = compare(answers, plans, done, task.limits, mistake_usd, task.kinds)
    solution = Solution(
        task=task.name,
        examples=len(task.probes),
        evaluated=len(complete),
        cards=answers.cards,
        left_out=dict(sorted({**cards.left_out, **asking.failed}.items())),
        comparison=comparison,
        stopped=asking.stopped,
        spent_usd=round(log.account.spent_usd, _DECIMALS),
        spent_now_usd=round(log.account.spent_usd - before_usd, _DECIMALS),
        max_usd=max_usd,
        unanswered_calls=len(log.account.unanswered),
        mistake_usd=mistake_usd,
        gate=gate.id,
        answers=str(log.file),
    )
    return msgspec.structs.replace(solution, findings=findings(solution)), {plan.id: plan for plan in plans}


def _policy(router: Router, task: Task, name: str) -> Policy:
    policy = router.policies.named(name)
    if task.mistake_usd is None:
        return policy
    return msgspec.structs.replace(policy, mistake_usd=task.mistake_usd)


def _known(answer: Answered | None) -> Answered:
    assert answer is not None
    return answer

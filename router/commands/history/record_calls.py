"""The calls of one recorded request: those of its plan, and the attempts at the deployments of their cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.formats import units
from router.types import CallOutcome, Outcome

if TYPE_CHECKING:
    from rich.console import Console


def print_calls(out: Console, outcome: Outcome) -> None:
    """Print a table of the plan's calls, where a plan answered, and one of the attempts."""
    from rich.markup import escape

    from router.commands.render import table

    if outcome.calls:
        out.print()
        right = ("began", "time", "tokens", "cost", "P(right)")
        shown = table(outcome.plan or "plan", "card", *right, "became", right=right)
        for call in outcome.calls:
            became = call.verdict + (f": {call.reason}" if call.reason else "")
            shown.add_row(escape(call.role), escape(call.card), *_numbers(call), escape(became))
        out.print(shown)
    if outcome.attempts:
        out.print()
        shown = table("call", "card", "deployment", "status", "time", "fault", right=("call", "status", "time"))
        for number, attempt in enumerate(outcome.attempts, start=1):
            status = "-" if attempt.status is None else str(attempt.status)
            time = units.show_milliseconds(attempt.elapsed_ms)
            cells = (str(number), escape(attempt.card), escape(attempt.deployment), status, time)
            shown.add_row(*cells, escape(attempt.fault or ""))
        out.print(shown)


def _numbers(call: CallOutcome) -> tuple[str, ...]:
    from router.commands.history.records import show_cost

    usage = call.usage
    return (
        units.show_milliseconds(call.began_ms),
        units.show_milliseconds(call.elapsed_ms),
        "-" if usage is None else f"{usage.input_tokens} + {usage.output_tokens}",
        show_cost(call.cost_usd),
        "-" if call.right is None else f"{call.right:.2f}",
    )

"""Routes a few prompts of different kinds and prints the decisions: what `make run` does.

Only cards that can be called here are candidates where there are any; `python scripts/demo.py --all` takes them all.
"""

from __future__ import annotations

import sys

from rich.markup import escape

from router import ChatRequest, Router
from router.commands import options
from router.commands.reach import Reach, reach_of
from router.commands.render import console, table
from router.errors import NoCandidateError

PROMPTS = (
    ("hi", ""),
    ("What is the capital of Australia?", ""),
    ("What is the capital of Australia?", "size<10B"),
    ("Write a Python function that merges two sorted lists.", ""),
    ("Write a lock-free skip list in Rust with hazard pointers, and argue why it is linearizable.", ""),
    ("Our limited partner wants to exit before the lock-up ends; draft the side letter under Delaware law.", ""),
    ("Prove that the square root of 2 is irrational.", "weights=open"),
    ("[Flag: smallest model] Summarise the plot of Hamlet in one sentence.", ""),
)


def main() -> None:
    """Print one row a prompt."""
    router = Router.default()
    reach = Reach() if "--all" in sys.argv[1:] else reach_of(router.catalog)
    out = console()
    out.print(f"{len(router.catalog)} cards, predictor {router.predictor.id}")
    out.print(f"{reach.note}\n")
    shown = table("prompt", "flags", "card", "quality", "±", "next best", right=("quality", "±"))
    today = options.today()
    for prompt, flags in PROMPTS:
        try:
            routed = router.route(
                ChatRequest.from_prompt(prompt), flags=flags, unavailable=reach.unavailable, today=today, is_typed=True
            )
        except NoCandidateError:
            shown.add_row(escape(prompt), flags, "none of them")
            continue
        decision = routed.decision
        best = decision.candidates[0]
        quality, deviation = f"{best.quality:.2f}", f"{best.quality_std:.2f}"
        shown.add_row(
            escape(prompt), flags, decision.card, quality, deviation, next(iter(decision.plan.fallbacks), "-")
        )
    out.print(shown)
    out.print('\nGet an answer:  .venv/bin/route ask "your prompt"')
    out.print("Get a decision: .venv/bin/route \"your prompt\" --flags 'size<10B' --explain")
    out.print("Serve clients:  .venv/bin/route serve      (OpenAI base URL http://127.0.0.1:8686/v1, model auto)")


if __name__ == "__main__":
    main()

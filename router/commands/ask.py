"""`route ask PROMPT`: answer a prompt with the card that is best for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.errors import CallerError, ConfigurationError, PulvinarError

if TYPE_CHECKING:
    import asyncio

    from router.commands.answers import Answer, Conversation
    from router.pipeline import Routed, Router
    from router.wire.chat.request import ChatRequest

_CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if code not in (9, 10))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ask")(ask)


def ask(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt. Read from standard input where it is - or missing.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="A conversation: every line is a turn. Ctrl-D ends it.")] = False,
    flags: options.Flags = "",
    policy: options.PolicyName = "default",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Call this card, without routing.")] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is complete.")] = False,
    as_json: options.Json = False,
) -> None:
    """Answer a prompt with the card that is best for it, of those that can be called here.

    The answer goes to standard output. Then a line on standard error says which card wrote it, why, what it cost and
    how long it took.
    """
    import asyncio
    import logging

    from router import Router
    from router.commands.prompt import read_prompt

    if chat and as_json:
        raise CallerError("--json prints one answer; it cannot be combined with --chat")
    if model is not None and (flags or policy != "default"):
        raise CallerError("--model names the card, which leaves nothing to choose; omit --flags and --policy")
    text = "" if chat else read_prompt(prompt, 'route ask "your prompt"')
    router = Router.default(cards, policies, artifact)
    conversation = _conversation(router, model, flags, policy, stream=not (no_stream or as_json))
    # The line after the answer says which calls failed.
    logging.getLogger("router.dispatch").addHandler(logging.NullHandler())
    with asyncio.Runner() as runner:
        try:
            if chat:
                _converse(conversation, runner, prompt)
            elif as_json:
                options.print_json(_document(runner.run(conversation.answer(text, lambda _: None))))
            else:
                _answer(conversation, runner, text)
        finally:
            runner.run(conversation.aclose())


def _conversation(router: Router, model: str | None, flags: str, policy: str, *, stream: bool) -> Conversation:
    """Raises ConfigurationError where no card can be called, or the named one cannot."""
    from router.commands.answers import Conversation
    from router.commands.reach import not_callable, nothing_callable

    named = None if model is None else router.catalog.named(model)
    eligible = router.catalog if named is None else (named,)
    unavailable = not_callable(eligible)
    if named is not None and unavailable:
        raise ConfigurationError(f"{named.id} cannot be called here: {unavailable[named.id]}")
    if len(unavailable) == len(eligible):
        raise nothing_callable(unavailable.values())

    # One card answers here; `route serve` runs plans.
    applied = router.policies.named(policy).with_plans()

    def choose(request: ChatRequest, kept: str | None) -> Routed:
        today = options.today()
        return router.route(
            request, flags=flags, policy=applied, unavailable=unavailable, today=today, kept=kept, is_typed=True
        )

    return Conversation(router.catalog, choose, None if named is None else named.id, stream=stream)


def _answer(conversation: Conversation, runner: asyncio.Runner, text: str) -> None:
    """Print the answer to one turn, then the line about it."""
    last = ""

    def show(piece: str) -> None:
        nonlocal last
        last = piece or last
        # On a terminal, an answer must not be able to move the cursor or to set the window's title.
        sys.stdout.write(piece.translate(_CONTROLS) if sys.stdout.isatty() else piece)
        sys.stdout.flush()

    try:
        answer = runner.run(conversation.answer(text, show))
    finally:
        if last and not last.endswith("\n"):
            show("\n")
    typer.echo(_line(answer), err=True)


def _converse(conversation: Conversation, runner: asyncio.Runner, first: str | None) -> None:
    """Answer turn after turn. One that fails is reported, and the conversation goes on without it."""
    for text in _turns(first):
        try:
            _answer(conversation, runner, text)
        except PulvinarError as error:
            typer.echo(f"route: {error}", err=True)


def _turns(first: str | None) -> Iterator[str]:
    """The turns of the user: `first`, then the lines of standard input that are not blank."""
    if first is not None and first != "-":
        yield first
    if sys.stdin is None:
        raise CallerError("standard input is closed")
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            # Where it can be imported, `input` has a history and the usual keys.
            import readline  # noqa: F401
        typer.echo("Ctrl-D ends the conversation.", err=True)
    while True:
        try:
            line = input("> " if is_terminal else "")
        except EOFError:
            if is_terminal:
                typer.echo()
            return
        if line.strip():
            yield line


def _line(answer: Answer) -> str:
    """Which card answered, why, what it cost and how long it took."""
    from router.formats import units

    if answer.cost_usd is None:
        cost = "cost unknown"
    else:
        note = " (estimate)" if _is_estimate(answer) else ""
        cost = f"cost {units.show_usd(round(answer.cost_usd, 7))}{note}"
    return f"{answer.card.id}: {'; '.join((*_reasons(answer), cost, units.show_milliseconds(answer.total_ms)))}"


def _reasons(answer: Answer) -> Iterator[str]:
    if answer.routed is None:
        yield "named by --model"
        return
    decision = answer.routed.decision
    if answer.card.id != decision.card:
        faults = {attempt.card: attempt.fault for attempt in answer.attempts if attempt.fault}
        yield f"in place of {', '.join(f'{card} ({fault})' for card, fault in faults.items())}"
    candidates = list(decision.candidates[: len(decision.plan.fallbacks) + 2])
    chosen = next((candidate for candidate in candidates if candidate.card == answer.card.id), None)
    if chosen is not None:
        yield f"quality {chosen.quality:.2f} ± {chosen.quality_std:.2f}"
    second = next(
        (candidate for candidate in candidates if candidate.card not in (answer.card.id, decision.card)), None
    )
    if second is not None:
        yield f"next {second.card} {second.quality:.2f}"
    if limits := [limit for limit in decision.binding if limit != "available"]:
        yield f"within {', '.join(limits)}"
    if decision.relaxed:
        yield f"without {', '.join(decision.relaxed)}, which no card meets"
    if decision.guard.state == "held":
        held = "kept for the conversation" if answer.kept == decision.card else "held by the guard"
        yield f"{held} over {decision.guard.best}"


def _is_estimate(answer: Answer) -> bool:
    return answer.usage is not None and answer.usage.estimated


def _document(answer: Answer) -> dict[str, Any]:
    """The answer and the decision behind it, as plain values for JSON."""
    source = "estimate" if _is_estimate(answer) else "usage"
    return {
        "answer": answer.text,
        "card": answer.card.id,
        "cost_usd": answer.cost_usd,
        "cost_from": None if answer.cost_usd is None else source,
        "total_ms": answer.total_ms,
        "usage": answer.usage,
        "attempts": answer.attempts,
        "decision": None if answer.routed is None else answer.routed.decision.document(),
    }

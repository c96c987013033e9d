"""`route PROMPT`: choose a card for a prompt and explain the choice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.errors import CallerError, NoCandidateError

if TYPE_CHECKING:
    from router.cards import Catalog
    from router.commands.reach import Reach
    from router.decide.policy import Policy
    from router.pipeline import Routed, Router
    from router.wire.chat.request import ChatRequest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prompt", help='Choose a card for a prompt. The word `prompt` is optional: route "your prompt".')(
        prompt
    )


def prompt(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt. Read from standard input where it is - or missing.")
    ] = None,
    flags: options.Flags = "",
    policy: options.PolicyName = "default",
    plans: Annotated[
        str | None,
        typer.Option("--plans", help="Plans to compare with the cards: cheap-first,two-agree. Default: the policy's."),
    ] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    messages: Annotated[
        Path | None,
        typer.Option("--messages", help="JSON file with OpenAI messages or a complete chat request."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of candidates to show.")] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the parts of every score, and every rejection.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole catalogue, also cards that cannot be called here.")
    ] = False,
    reachable: Annotated[
        bool, typer.Option("--reachable", help="Only cards that can be called here, even where there are none.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    from router import Router
    from router.decide.exploration.rule import Draw

    request = _read_request(prompt, messages)
    router = Router.default(cards, policies, artifact)
    reach = _reach(router.catalog, everything, reachable)
    try:
        routed = router.route(
            request,
            flags=flags,
            policy=_with_plans(router, policy, plans),
            unavailable=reach.unavailable,
            today=options.today(),
            is_typed=True,
            draw=Draw(),
        )
    except NoCandidateError as error:
        if not reach.note or not reach.unavailable:
            raise
        raise NoCandidateError(f"{error}\n  {reach.note}") from None
    if as_json:
        options.print_json(routed.decision.document())
    else:
        from router.commands.render import print_decision

        print_decision(routed.decision, top, explain, _evidence(router, routed, top) if explain else None)
    if reach.note:
        typer.echo(reach.note, err=True)


def _with_plans(router: Router, policy: str, plans: str | None) -> Policy:
    """The policy, with these plans in place of its own. Raises UnknownModelError for one that does not exist."""
    import msgspec

    applied = router.policies.named(policy)
    if plans is None:
        return applied
    names = dict.fromkeys(name.strip() for name in plans.split(",") if name.strip())
    # Who names plans wants to see them compared, whether or not they pay.
    plans_named = tuple(router.plans.named(name).id for name in names)
    return msgspec.structs.replace(applied, plans=plans_named, stages_off={})


def _evidence(router: Router, routed: Routed, top: int) -> dict[str, str]:
    """The grounds of the forecasts: the reading of the prompt, and the evidence on the best cards."""
    from router.perceive.explanation import describe_card, describe_prompt

    read = describe_prompt(router.predictor, routed.features.vector)
    evidence = {} if read is None else {"the prompt": read}
    catalog = router.catalog_of(routed.policy)
    for candidate in routed.decision.candidates[:top]:
        if candidate.card in routed.decision.plans:
            continue
        position = catalog.ids.index(candidate.card)
        evidence[candidate.card] = describe_card(router.predictor, catalog, position, router.evidence)
    return evidence


def _reach(catalog: Catalog, everything: bool, reachable: bool) -> Reach:
    from router.commands.reach import Reach, not_callable, reach_of

    if everything and reachable:
        raise CallerError("give --all or --reachable, not both")
    if reachable:
        return Reach(not_callable(catalog))
    return Reach() if everything else reach_of(catalog)


def _read_request(prompt: str | None, messages: Path | None) -> ChatRequest:
    from router.wire.chat.request import ChatRequest

    if messages is not None:
        if prompt is not None:
            raise CallerError("give a prompt or --messages, not both")
        return ChatRequest.from_body(_read_messages(messages))
    return ChatRequest.from_prompt(read_prompt(prompt, 'route "your prompt"'))


def read_prompt(prompt: str | None, example: str) -> str:
    """`prompt`, or standard input where it is `-` or None. Raises CallerError where there is none."""
    if prompt is not None and prompt != "-":
        return prompt
    if sys.stdin is None or sys.stdin.isatty():
        raise CallerError(f"no prompt: give one as in {example}, or pipe one into it")
    return _decoded(_standard_input(), "standard input")


def _read_messages(file: Path) -> dict[str, Any]:
    import json

    try:
        raw = _standard_input() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CallerError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        document = json.loads(_decoded(raw, str(file)))
    except json.JSONDecodeError as error:
        raise CallerError(f"{file}:{error.lineno}: is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise CallerError(f"{file}: is nested too deeply, or contains a number that is too long") from None
    if isinstance(document, list):
        return {"messages": document}
    if isinstance(document, dict):
        return {"messages": [document]} if "role" in document and "messages" not in document else document
    raise CallerError(f"{file}: expected a list of messages, or an object with `messages`")


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise CallerError("standard input is closed")
    return sys.stdin.buffer.read()


def _decoded(raw: bytes, origin: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CallerError(f"{origin} is not UTF-8 text (byte {error.start} is 0x{raw[error.start]:02x})") from None
    if "\x00" in text:
        raise CallerError(f"{origin} is binary, not text (it has a zero byte at {text.index(chr(0))})")
    return text

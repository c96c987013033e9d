"""`route records`: what the gateway has answered, and why."""

from __future__ import annotations

import contextlib
import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from rich.console import Console

    from router.analysis.replay import Replayed
    from router.store.records.record import DecisionRecord, Record
    from router.store.records.sqlite import Records

app = typer.Typer(help="List, show and replay what the gateway has answered.", no_args_is_help=True)

Store = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the records.", show_default="PULVINAR_STORE, else the user's state folder"),
]

_POLL_S = 0.5
_UNKNOWN = "?"
_WIDTHS = (19, 36, 28, 10, 6, 13, 12, 8, 5, 0)
_HEADS = ("time (UTC)", "id", "card", "policy", "status", "tokens", "cost", "time", "calls", "error")
_NUMBERS = ("status", "tokens", "cost", "time", "calls")


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="records")


def open_store(folder: Path | None) -> Records | None:
    """The records in `folder`, or the default one; None where there are none, which it says."""
    from router.store.records.journal import open_records

    chosen = folder or settings.default_store_folder()
    records = open_records(chosen)
    if records is not None and records.last_number():
        return records
    typer.echo(f"no records in {chosen} yet: `route serve` keeps them", err=True)
    return None


@app.command("tail")
def tail(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many of the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    card: Annotated[str | None, typer.Option("--card", help="Only those that this card answered.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only those of the client key with this id.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only those that failed.")] = False,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a record.")] = False,
) -> None:
    """The newest records, the newest last."""
    from router.store.records.sqlite import Filter

    records = open_store(store)
    if records is None:
        return
    wanted = Filter(card=card, key=key, errors=errors)
    # Ctrl-C is how following ends.
    with records, contextlib.suppress(*([KeyboardInterrupt] if follow else [])):
        last = records.last_number()
        _print_records(records.tail(count, wanted), as_json, follow)
        while follow:
            while found := records.added_after(last, wanted):
                last = found[-1][0]
                _print_records([each for _, each in found], as_json, follow, head=False)
            time.sleep(_POLL_S)


@app.command("show")
def show(
    record: Annotated[str, typer.Argument(help="The record's id, or how it begins.")],
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Everything that is known of one request."""
    records = open_store(store)
    if records is None:
        raise typer.Exit(CallerError.exit_code)
    with records:
        found = records.named(record)
    if as_json:
        options.print_json(found)
    else:
        _print_record(found)


@app.command("replay")
def replay(
    record: Annotated[str | None, typer.Argument(help="The record's id, or how it begins.")] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="The newest decisions instead of one.")] = None,
    now: Annotated[bool, typer.Option("--now", help="With the cards, policies and date of now.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many candidates to show.")] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the parts of each score and every rejection.")
    ] = False,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Make a decision again from its record, and say whether it is the same.

    The cards and the policy are those of then, even if they were edited or deleted since; --now takes today's. Without
    --now the exit code is 1 where a decision is not the same.
    """
    from router import Router

    if (record is None) == (last is None):
        raise CallerError("give a record's id, or --last N")
    from router.analysis.replay import Replayer
    from router.store.records.snapshots import CatalogSnapshot
    from router.store.records.sqlite import Filter

    records = open_store(store)
    if records is None:
        raise typer.Exit(CallerError.exit_code)
    router = Router.default(cards, policies, artifact)
    setting, today = CatalogSnapshot(router.catalog, router.evidence), options.today()
    with records:
        chosen = [records.named(record)] if record else records.tail(last or 1, Filter(routed=True))
        replayer = Replayer(records, router.predictor)
        done: list[tuple[Record, DecisionRecord, Replayed]] = []
        for each in chosen:
            if each.decision is None:
                raise CallerError(f"{each.id} has no decision to replay: the client named the card, or none was found")
            again = (
                replayer.now(each.decision, setting, router.policies, today) if now else replayer.again(each.decision)
            )
            done.append((each, each.decision, again))
    if as_json:
        options.print_json([_replay_document(each, again) for each, _, again in done])
    elif record:
        _print_replay(*done[0], top, explain)
    else:
        _print_replays(done)
    if not now and not all(again.same for *_, again in done):
        raise typer.Exit(1)


def show_time(at: float) -> str:
    """Seconds since 1970 as `2026-11-23 18:50:01`, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_records(records: list[Record], as_json: bool, follow: bool, head: bool = True) -> None:
    if as_json:
        for record in records:
            typer.echo(_line_of_json(record))
        return
    if follow:
        # The widths of lines to come are not known.
        rows = [*([_HEADS] if head else []), *(_cells(record) for record in records)]
        for row in rows:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, _WIDTHS, strict=True)).rstrip())
        return
    from rich.markup import escape

    from router.commands.render import console, table

    shown = table(*_HEADS, right=_NUMBERS)
    for record in records:
        shown.add_row(*(escape(cell) for cell in _cells(record)))
    console().print(shown)


def _line_of_json(record: Record) -> str:
    import msgspec

    if record.decision is not None:
        # 435 numbers that nobody reads.
        record = msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, vector=b""))
    return msgspec.json.encode(record).decode()


def _cells(record: Record) -> tuple[str, ...]:
    outcome, decision = record.outcome, record.decision
    return (
        show_time(record.at),
        record.id,
        outcome.card or "-",
        decision.policy if decision else "-",
        str(outcome.status),
        _tokens(record),
        _usd(outcome.cost_usd),
        _milliseconds(outcome.total_ms),
        str(len(outcome.attempts)),
        outcome.error or "",
    )


def _tokens(record: Record) -> str:
    usage = record.outcome.usage
    return _UNKNOWN if usage is None else f"{usage.input_tokens}+{usage.output_tokens}"


def _usd(amount: float | None) -> str:
    from router.formats import units

    return _UNKNOWN if amount is None else units.show_usd(amount, 4)


def _milliseconds(duration: float | None) -> str:
    from router.formats import units

    return _UNKNOWN if duration is None else units.show_milliseconds(duration)


def _print_record(record: Record) -> None:
    from rich.markup import escape

    from router.commands.render import console

    out = console()
    outcome = record.outcome
    out.print(f"[bold]{escape(record.id)}[/]  {show_time(record.at)} UTC")
    stream = ", stream" if record.stream else ""
    who = "".join(f", {name} {value}" for name, value in (("key", record.key), ("session", record.session)) if value)
    lines = [("asked", f"{record.asked} ({record.surface}{stream}{who})")]
    by = f" by {outcome.card}" if outcome.card else ""
    lines.append(("answered", f"{outcome.status}{by}" + (f", {outcome.error}" if outcome.error else "")))
    took = f"{_milliseconds(outcome.total_ms)} in all, first token {_milliseconds(outcome.ttft_ms)}"
    lines.append(("time", f"{took}, gateway {_milliseconds(outcome.overhead_ms)}"))
    if usage := outcome.usage:
        cached = f" ({usage.cached_input_tokens} from a cache)" if usage.cached_input_tokens else ""
        lines.append(("tokens", f"{usage.input_tokens} in{cached}, {usage.output_tokens} out"))
    lines.append(("cost", _usd(outcome.cost_usd)))
    for name, text in (*lines, *_decision_lines(record.decision)):
        out.print(f"{name:<10} {escape(text)}")
    if record.prompt is not None:
        out.print(f"{'prompt':<10} {len(record.prompt)} bytes (--json shows it, in base64)")
    _print_attempts(out, record)


def _decision_lines(decision: DecisionRecord | None) -> list[tuple[str, str]]:
    if decision is None:
        return []
    forecast = f"quality {decision.quality:.2f} ± {decision.quality_std:.2f}, cost {_usd(decision.cost_usd)}"
    lines = [
        ("decision", f"{decision.card} (policy {decision.policy}, guard {decision.guard})"),
        ("forecast", f"{forecast}, latency {_milliseconds(decision.latency_ms)}"),
        ("fallbacks", ", ".join(decision.fallbacks) or "none"),
    ]
    if decision.flags:
        lines.append(("flags", decision.flags))
    if decision.kept:
        lines.append(("kept", f"{decision.kept} had answered the conversation before"))
    needs = ", ".join((*(word for word in decision.modalities if word != "text"), *decision.needs))
    limit = "" if decision.output_limit is None else f", at most {decision.output_limit} tokens out"
    seen = f"about {decision.input_tokens} tokens in{limit}" + (f"; needs {needs}" if needs else "")
    lines += [("request", seen), ("artifact", f"{decision.artifact}, release {decision.release or _UNKNOWN}")]
    return lines


def _print_attempts(out: Console, record: Record) -> None:
    from rich.markup import escape

    from router.commands.render import table

    if not record.outcome.attempts:
        return
    out.print()
    shown = table("call", "card", "deployment", "status", "time", "fault", right=("call", "status", "time"))
    for number, attempt in enumerate(record.outcome.attempts, start=1):
        status = "-" if attempt.status is None else str(attempt.status)
        cells = (str(number), escape(attempt.card), escape(attempt.deployment), status)
        shown.add_row(*cells, _milliseconds(attempt.elapsed_ms), escape(attempt.fault or ""))
    out.print(shown)


def _replay_document(record: Record, again: Replayed) -> dict[str, object]:
    return {
        "id": record.id,
        "same": again.same,
        "differences": again.differences,
        "reasons": again.reasons,
        "problem": again.problem,
        "card": again.decision.card if again.decision else None,
    }


def _print_replay(record: Record, recorded: DecisionRecord, again: Replayed, top: int, explain: bool) -> None:
    from rich.markup import escape

    from router.commands.render import console, print_decision, table

    out = console()
    verdict = "[green]the same decision[/]" if again.same else "[red]not the same decision[/]"
    out.print(f"[bold]{escape(record.id)}[/]  {show_time(record.at)} UTC  {verdict}")
    if again.problem:
        out.print(f"then {escape(recorded.card)}; now {escape(again.problem)}")
    if again.differences:
        shown = table("", "then", "again")
        for each in again.differences:
            shown.add_row(each.what, escape(_value(each.then)), escape(_value(each.again)))
        out.print(shown)
    for reason in again.reasons:
        out.print(f"• {escape(reason)}")
    if not again.same and not again.reasons:
        out.print("• nothing that the decision was made from has changed: this is a fault of ours, please report it")
    if again.decision is not None:
        out.print()
        print_decision(again.decision, top, explain)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else _UNKNOWN if value is None else str(value)


def _print_replays(done: list[tuple[Record, DecisionRecord, Replayed]]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    shown = table("time (UTC)", "id", "then", "again", "differs in")
    for record, recorded, again in done:
        card = again.decision.card if again.decision else "none"
        what = again.problem.partition("\n")[0] or ", ".join(each.what for each in again.differences) or "nothing"
        shown.add_row(show_time(record.at), *(escape(cell) for cell in (record.id, recorded.card, card, what)))
    out.print(shown)
    same = sum(again.same for *_, again in done)
    cards = sum(again.decision is not None and again.decision.card == recorded.card for _, recorded, again in done)
    also = f"; {cards} choose the same card" if cards != same else ""
    out.print(f"{same} of {len(done)} decisions are the same{also}")
    for reason in dict.fromkeys(reason for *_, again in done for reason in again.reasons):
        out.print(f"• {escape(reason)}")

"""`route records`: list, show and replay the recorded requests."""

from __future__ import annotations

import contextlib
import datetime
import errno
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history.stores import Store, read_records, wait_for_records
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.replay import Replay
    from router.store.records.feedback import Feedback
    from router.store.records.protocol import Filter, RecordStore
    from router.store.records.record import DecisionRecord, Record, ShadowRecord

app = typer.Typer(help="List, show and replay recorded requests.", no_args_is_help=True)

_POLL_S = 0.5
_UNKNOWN = "?"
_WIDTHS = (19, 36, 28, 10, 6, 13, 12, 8, 5, 0)
_HEADS = ("time (UTC)", "id", "card", "policy", "status", "tokens", "cost", "time", "calls", "error")
_NUMBERS = ("status", "tokens", "cost", "time", "calls")


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    from router.commands.history import feedback, move, shadow

    feedback.register(app)
    move.register(app)
    shadow.register(app)
    parent.add_typer(app, name="records")


@app.command("tail")
def tail(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of records to print.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new records until Ctrl-C.")] = False,
    card: Annotated[str | None, typer.Option("--card", help="Only requests that this card answered.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only requests of the client key with this id.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only failed requests.")] = False,
    store: Store = None,
    records_url: options.Records = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per record.")] = False,
) -> None:
    """List the newest records, the newest last."""
    from router.store.records.protocol import Filter

    records = read_records(store, records_url)
    if records is None and not follow:
        return
    wanted = Filter(card=card, key=key, errors=errors)
    with _until_interrupted() if follow else contextlib.nullcontext(), contextlib.ExitStack() as stack:
        records = stack.enter_context(records or wait_for_records(store, records_url, _POLL_S))
        last = records.last_number()
        _print_records(records.tail(count, wanted), as_json, follow)
        if follow:
            _follow(records, wanted, last, as_json)


def _follow(records: RecordStore, wanted: Filter, last: int, as_json: bool) -> None:
    """Print new records as they are added. Raises BrokenPipeError once no process reads the output."""
    while True:
        while batch := records.added_after(last, wanted):
            last = batch[-1][0]
            _print_records([record for _, record in batch], as_json, follow=True, head=False)
        time.sleep(_POLL_S)
        if _is_output_closed():
            raise BrokenPipeError(errno.EPIPE, "standard output is closed")


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Run the block until SIGINT (Ctrl-C) or SIGTERM, which end it without an error."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _is_output_closed() -> bool:
    """Whether the process that read standard output has exited. False where this cannot be detected."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


@app.command("show")
def show(
    prefix: Annotated[str, typer.Argument(metavar="RECORD", help="The record's id, or its first characters.")],
    store: Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Show one record in full."""
    records = read_records(store, records_url)
    if records is None:
        raise typer.Exit(CallerError.exit_code)
    with records:
        record = records.find(prefix)
        given = records.feedback_of(record.id)
    if as_json:
        options.print_json(record)
    else:
        _print_record(record, given)


@app.command("replay")
def replay(
    prefix: Annotated[
        str | None, typer.Argument(metavar="RECORD", help="The record's id, or its first characters.")
    ] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Replay this many of the newest decisions.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Use the current cards, policies and date.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of candidates to show.")] = 5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the terms of each score and every rejection.")
    ] = False,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Repeat recorded decisions and compare the results.

    Replays use the recorded cards and policy, even if these were edited or deleted since; with --now, the current ones.
    Without --now, the exit code is 1 if a decision differs.
    """
    from router import Router

    if (prefix is None) == (last is None):
        raise CallerError("name either a record or --last N")
    from router.analysis.replay import Replayer
    from router.store.records.protocol import Filter
    from router.store.records.snapshots import CatalogSnapshot

    records = read_records(store, records_url)
    if records is None:
        raise typer.Exit(CallerError.exit_code)
    router = Router.default(cards, policies, artifact)
    current, today = CatalogSnapshot(router.catalog, router.evidence), options.today()
    with records:
        selected = [records.find(prefix)] if prefix else records.tail(last or 1, Filter(routed=True))
        replayer = Replayer(records, router.predictor)
        replays: list[tuple[Record, DecisionRecord, Replay]] = []
        for record in selected:
            decision = record.decision
            if decision is None:
                problem = "the client named the card, or no card was eligible"
                raise CallerError(f"{record.id} has no decision to replay: {problem}")
            replayed = (
                replayer.re_decide(decision, current, router.policies, today, router.plans)
                if now
                else replayer.replay(decision)
            )
            replays.append((record, decision, replayed))
    if as_json:
        options.print_json([_replay_document(record, replayed) for record, _, replayed in replays])
    elif prefix:
        _print_replay(*replays[0], top, explain)
    else:
        _print_replays(replays)
    if not now and not all(replayed.same for *_, replayed in replays):
        raise typer.Exit(1)


def show_time(at: float) -> str:
    """Seconds since 1970 as `2026-11-23 18:50:01`, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_cost(cost_usd: float | None) -> str:
    """US dollars to four significant digits, as `0.002522$`; `?` for None."""
    from router.formats import units

    return _UNKNOWN if cost_usd is None else units.show_usd(cost_usd, 4)


def _cost_and_per_1000(cost_usd: float | None) -> str:
    from router.formats import units

    return _UNKNOWN if cost_usd is None else units.show_request_cost(cost_usd)


def _print_records(records: list[Record], as_json: bool, follow: bool, head: bool = True) -> None:
    if as_json:
        for record in records:
            typer.echo(_json_line(record))
        return
    if follow:
        # Fixed column widths, as the widths of later records are unknown.
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


def _json_line(record: Record) -> str:
    import msgspec

    if record.decision is not None:
        # The 435 features are of no use in a list.
        record = msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, vector=b""))
    return msgspec.json.encode(record).decode()


def _cells(record: Record) -> tuple[str, ...]:
    outcome, decision = record.outcome, record.decision
    return (
        show_time(record.at),
        record.id,
        outcome.card or "-",
        decision.policy if decision else "shadow" if record.shadow else "-",
        str(outcome.status),
        _tokens(record),
        show_cost(outcome.cost_usd),
        _duration(outcome.total_ms),
        str(len(outcome.attempts)),
        outcome.error or "",
    )


def _tokens(record: Record) -> str:
    usage = record.outcome.usage
    if usage is None:
        return _UNKNOWN
    return f"{'~' if usage.estimated else ''}{usage.input_tokens}+{usage.output_tokens}"


def _duration(duration_ms: float | None) -> str:
    from router.formats import units

    return _UNKNOWN if duration_ms is None else units.show_milliseconds(duration_ms)


def _print_record(record: Record, given: Sequence[Feedback]) -> None:
    from rich.markup import escape

    from router.commands.history import feedback
    from router.commands.history.record_calls import print_calls
    from router.commands.render import all_tokens, console

    out = console()
    outcome = record.outcome
    out.print(f"[bold]{escape(record.id)}[/]  {show_time(record.at)} UTC")
    stream = ", stream" if record.stream else ""
    client = "".join(f", {name} {value}" for name, value in (("key", record.key), ("session", record.session)) if value)
    lines = [("requested", f"{record.asked} ({record.surface}{stream}{client})")]
    by = f" by {outcome.card}" if outcome.card else ""
    lines.append(("answered", f"{outcome.status}{by}" + (f", {outcome.error}" if outcome.error else "")))
    times = f"{_duration(outcome.total_ms)} total, first token {_duration(outcome.ttft_ms)}"
    if outcome.degraded:
        lines.append(("degraded", outcome.degraded))
    lines.append(("time", f"{times}, gateway {_duration(outcome.overhead_ms)}"))
    if usage := outcome.usage:
        lines.append(("tokens", all_tokens(usage)))
    lines.append(("cost", _cost_and_per_1000(outcome.cost_usd)))
    if record.shadow is not None:
        lines += _shadow_lines(record.shadow)
    for name, text in (*lines, *_decision_lines(record.decision), *feedback.lines_of(given)):
        out.print(f"{name:<10} {escape(text)}")
    if record.prompt is not None:
        out.print(f"{'prompt':<10} {len(record.prompt)} bytes (--json prints it in base64)")
    print_calls(out, record.outcome)


def _shadow_lines(shadow: ShadowRecord) -> list[tuple[str, str]]:
    results = {True: "the same final answer", False: "another final answer", None: "final answers cannot be compared"}
    lines = [("shadow", f"of {shadow.of}, which {shadow.first.card} answered (policy {shadow.policy})")]
    return lines if shadow.second is None else [*lines, ("compared", results[shadow.same])]


def _decision_lines(decision: DecisionRecord | None) -> list[tuple[str, str]]:
    if decision is None:
        return []
    cost = _cost_and_per_1000(decision.cost_usd)
    forecast = f"quality {decision.quality:.2f} ± {decision.quality_std:.2f}, cost {cost}"
    lines = [
        ("decision", f"{decision.card} (policy {decision.policy}, guard {decision.guard})"),
        ("forecast", f"{forecast}, latency {_duration(decision.latency_ms)}"),
        ("fallbacks", ", ".join(decision.fallbacks) or "none"),
    ]
    if decision.plan is not None:
        plan = decision.plan
        lines.insert(
            1, ("plan", f"{plan.id} ({plan.method}), {plan.calls:.1f} calls expected, {plan.most_calls} at most")
        )
    if (canary := decision.canary) is not None:
        lines.append(
            ("canary", f"{canary.card} of {canary.of}: {'took' if canary.taken else 'did not take'} the request")
        )
    if decision.exploration is not None:
        from router.commands.render import exploration_in_words

        lines.append(("explores", exploration_in_words(decision.exploration)))
    if (arm := decision.experiment) is not None:
        lines.append(("experiment", f"{arm.name}: arm {arm.arm}"))
    if decision.is_batch:
        lines.append(("batch", "the request can wait"))
    if decision.flags:
        lines.append(("flags", decision.flags))
    if decision.conversation_card:
        lines.append(("previous", f"{decision.conversation_card} answered this conversation before"))
    needs = ", ".join((*(word for word in decision.modalities if word != "text"), *decision.needs))
    limit = "" if decision.output_limit is None else f", at most {decision.output_limit} tokens out"
    request = f"about {decision.input_tokens} tokens in{limit}" + (f"; needs {needs}" if needs else "")
    lines += [("request", request), ("artifact", f"{decision.artifact}, release {decision.release or _UNKNOWN}")]
    return lines


def _replay_document(record: Record, replayed: Replay) -> dict[str, object]:
    return {
        "id": record.id,
        "same": replayed.same,
        "differences": replayed.differences,
        "reasons": replayed.reasons,
        "problem": replayed.problem,
        "card": replayed.decision.card if replayed.decision else None,
    }


def _print_replay(record: Record, recorded: DecisionRecord, replayed: Replay, top: int, explain: bool) -> None:
    from rich.markup import escape

    from router.commands.render import console, print_decision, table

    out = console()
    verdict = "[green]same decision[/]" if replayed.same else "[red]different decision[/]"
    out.print(f"[bold]{escape(record.id)}[/]  {show_time(record.at)} UTC  {verdict}")
    if replayed.problem:
        out.print(f"recorded {escape(recorded.card)}; replayed: {escape(replayed.problem)}")
    if replayed.differences:
        shown = table("", "recorded", "replayed")
        for difference in replayed.differences:
            cells = (difference.field, _value(difference.recorded), _value(difference.replayed))
            shown.add_row(*(escape(cell) for cell in cells))
        out.print(shown)
    for reason in replayed.reasons:
        out.print(f"• {escape(reason)}")
    if not replayed.same and not replayed.reasons:
        out.print("• the inputs are unchanged but the decision differs; please report this bug")
    if replayed.decision is not None:
        out.print()
        print_decision(replayed.decision, top, explain)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else _UNKNOWN if value is None else str(value)


def _print_replays(replays: list[tuple[Record, DecisionRecord, Replay]]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    shown = table("time (UTC)", "id", "recorded", "replayed", "differs in")
    for record, recorded, replayed in replays:
        card = replayed.decision.card if replayed.decision else "none"
        fields = ", ".join(difference.field for difference in replayed.differences)
        differs_in = replayed.problem.partition("\n")[0] or fields or "nothing"
        shown.add_row(show_time(record.at), *(escape(cell) for cell in (record.id, recorded.card, card, differs_in)))
    out.print(shown)
    same = sum(replayed.same for *_, replayed in replays)
    same_card = sum(
        replayed.decision is not None and replayed.decision.card == recorded.card for _, recorded, replayed in replays
    )
    also = f"; {same_card} choose the same card" if same_card != same else ""
    out.print(f"{same} of {len(replays)} decisions are the same{also}")
    for reason in dict.fromkeys(reason for *_, replayed in replays for reason in replayed.reasons):
        out.print(f"• {escape(reason)}")

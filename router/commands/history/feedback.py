"""`route records feedback`: judge the answer to a recorded request, or list what others judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.commands.history.records import show_time
from router.commands.history.savings import read_since
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from router.store.records.feedback import Feedback, FeedbackStore, Verdict

_SOURCE = "operator"


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("feedback")(feedback)


def feedback(
    prefix: Annotated[
        str | None, typer.Argument(metavar="RECORD", help="The record's id, or its first characters.")
    ] = None,
    value: Annotated[float | None, typer.Option("--value", min=0, max=1, help="1 for right, 0 for wrong.")] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="good (1), mixed (0.5) or bad (0).")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why; at most 2,000 characters.")] = None,
    source: Annotated[str, typer.Option("--source", help="Who judged.")] = _SOURCE,
    since: Annotated[str | None, typer.Option("--since", help="List only later feedback: 7d, or a date (UTC).")] = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Judge the answer to a request. Without --value or --verdict, list the feedback that there is.

    Each source judges an answer once.
    """
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        raise typer.Exit(CallerError.exit_code if prefix else 0)
    with recorded:
        record = None if prefix is None else recorded.find(prefix)
        if value is None and verdict is None:
            if comment is not None:
                raise CallerError("--comment needs --value or --verdict")
            given = (
                list(recorded.scan_feedback(None if since is None else read_since(since)))
                if record is None
                else recorded.feedback_of(record.id)
            )
        elif record is None:
            raise CallerError("name the record that --value or --verdict judges (`route records tail` lists them)")
        else:
            with stores.backend_of(store, records_url).feedback() as feedback_store:
                given = [_add(feedback_store, record.id, value, verdict, comment, source)]
    if as_json:
        options.print_json(given)
    else:
        _print(given)


def _add(
    store: FeedbackStore, record: str, value: float | None, verdict: str | None, comment: str | None, source: str
) -> Feedback:
    import msgspec

    from router.store.records.feedback import VALUES, Feedback, value_of

    if verdict is not None and verdict not in VALUES:
        raise CallerError(f'--verdict is one of {", ".join(VALUES)}, not "{verdict}"{did_you_mean(verdict, VALUES)}')
    checked: Verdict | None = verdict
    given = Feedback(record, value_of(value, checked), time.time(), source, checked, comment)
    try:
        msgspec.convert(msgspec.to_builtins(given), Feedback)
    except msgspec.ValidationError as error:
        raise CallerError(str(error)) from None
    return store.add(given, of_any_key=True, waits=True).feedback


def lines_of(given: Sequence[Feedback]) -> list[tuple[str, str]]:
    """The lines of `route records show`, one for each feedback."""
    return [("feedback", _line(each)) for each in given]


def _line(given: Feedback) -> str:
    word = f" ({given.verdict})" if given.verdict else ""
    key = f", key {given.key}" if given.key else ""
    comment = f": {given.comment}" if given.comment else ""
    return f"{given.value:g}{word} by {given.source}{key}, {show_time(given.at)}{comment}"


def _print(given: Sequence[Feedback]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    if not given:
        typer.echo("no feedback yet: clients send it to POST /v1/feedback", err=True)
        return
    shown = table("time (UTC)", "id", "value", "verdict", "source", "key", "comment", right=("value",))
    for each in given:
        cells = (each.verdict or "", each.source, each.key or "", each.comment or "")
        shown.add_row(show_time(each.at), escape(each.record), f"{each.value:g}", *map(escape, cells))
    console().print(shown)

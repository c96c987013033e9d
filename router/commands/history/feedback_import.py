"""`route feedback import`: store the judgements that another system has collected."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.errors import CallerError, ConflictError, FieldError, UnknownIdError, did_you_mean

if TYPE_CHECKING:
    from router.learn.online.exports import Judgement, Reading
    from router.store.records.feedback import FeedbackStore

_SHOWN = 3
app = typer.Typer(help="Judgements of recorded answers from other systems.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="feedback")


@app.callback()
def _group() -> None:
    """Judgements of recorded answers from other systems."""


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON, JSON lines or CSV.")],
    layout: Annotated[
        str | None, typer.Option("--format", help="langfuse, tensorzero or plain.", show_default="as its fields say")
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id", metavar="FIELD", help="Which field has the request's id, as metadata.request_id."),
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="The name of the judgements to take.")] = None,
    scale: Annotated[str, typer.Option("--range", metavar="LOW:HIGH", help="The ends of the scale of values.")] = "0:1",
    source: Annotated[str | None, typer.Option("--source", help="Who judged.", show_default="the format")] = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Store judgements of recorded answers: scores of Langfuse, feedback of TensorZero, or a table with id and value.

    The id is the x-request-id of the answer, or that which the client chose for the request. Each source judges an
    answer once, so a file can be imported again.
    """
    from router.learn.online.exports import read_judgements

    how = _reading(layout, id_field, metric, scale)
    read = [(file, *read_judgements(file, how)) for file in files]
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        raise typer.Exit(CallerError.exit_code)
    recorded.close()
    counts: dict[str, int] = dict.fromkeys(("stored", "known", "unknown", "refused"), 0)
    problems: list[str] = []
    with stores.backend_of(store, records_url).feedback() as feedback:
        for file, found, judgements in read:
            for judgement in judgements:
                result, problem = _stored(feedback, judgement, source or _source_of(found))
                counts[result] += 1
                if problem and len(problems) < _SHOWN:
                    problems.append(f"{file}: {problem}")
    if as_json:
        options.print_json({**counts, "problems": problems})
        return
    typer.echo(
        f"{sum(counts.values()):,} judgements: {counts['stored']:,} stored, {counts['known']:,} there before, "
        f"{counts['unknown']:,} of requests that are not recorded, {counts['refused']:,} refused"
    )
    for problem in problems:
        typer.echo(f"  {problem}", err=True)


def _reading(layout: str | None, id_field: str | None, metric: str | None, scale: str) -> Reading:
    from router.learn.online.exports import LAYOUTS, Reading

    if layout is not None and layout not in LAYOUTS:
        raise CallerError(f'--format is one of {", ".join(LAYOUTS)}, not "{layout}"{did_you_mean(layout, LAYOUTS)}')
    low, _, high = scale.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not all(map(math.isfinite, ends)):
        raise CallerError(f'--range takes LOW:HIGH, such as 1:5, got "{scale}"')
    if not ends[0] < ends[1]:
        raise CallerError(f'--range takes the lower end first, got "{scale}"')
    return Reading(next((known for known in LAYOUTS if known == layout), None), id_field, metric, *ends)


def _source_of(layout: str) -> str:
    return "import" if layout == "plain" else layout


def _stored(store: FeedbackStore, judgement: Judgement, source: str) -> tuple[str, str]:
    """The result of storing a judgement, and its error, if any."""
    import msgspec

    from router.store.records.feedback import Feedback

    given = Feedback(judgement.id, judgement.value, judgement.at or time.time(), source, comment=judgement.comment)
    try:
        checked = msgspec.convert(msgspec.to_builtins(given), Feedback)
        return ("stored" if store.add(checked, of_any_key=True, waits=True).is_new else "known"), ""
    except UnknownIdError:
        return "unknown", ""
    except (ConflictError, FieldError, msgspec.ValidationError) as error:
        return "refused", f"{judgement.id}: {error}"

"""`route drift`: which cards answer worse or better than before, and whether the prompts have changed."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.commands.history import stores
from router.commands.history.records import show_time
from router.commands.history.savings import read_since
from router.commands.live.shared_state import State, with_state
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from router.analysis.drift.judged import Alarm, CardDrift
    from router.analysis.drift.traffic import DayTest
    from router.pipeline import Router
    from router.store.state.protocol import Blob, StateStore

_SINCE = "30d"


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("drift")(drift)


def drift(
    since: Annotated[
        str, typer.Option("--since", help="Only alarms and days since then: 7d, or a date such as 2026-11-01 (UTC).")
    ] = _SINCE,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="CARD", help="Begin anew for a card, without its alarms.")
    ] = None,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    state: State = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Print which cards answer worse or better than before, and whether the prompts have changed."""
    start_s = read_since(since)
    blobs = with_state(store, state, lambda opened: _tested(opened, forget))
    if forget is not None:
        typer.echo(f"{forget}: forgotten; running gateways follow within some seconds")
        return
    router = _router(cards, artifact)
    drifts = _drifts(blobs, router)
    alarms = [
        (card, alarm)
        for card, drifted in sorted(drifts.items())
        for alarm in drifted.alarms
        if max(alarm.raised_s, alarm.ended_s or 0.0) >= start_s
    ]
    days = _days(stores_at=(store, records_url), start_s=start_s, router=router)
    if as_json:
        options.print_json(
            {
                "alarms": [_as_json(card, alarm) for card, alarm in alarms],
                "calibration": _calibrations(drifts),
                "traffic": days,
            }
        )
        return
    _print_alarms(alarms, sum(each.judged for each in drifts.values()))
    _print_calibration(drifts)
    _print_days(days)


async def _tested(state: StateStore, forget: str | None) -> dict[str, Blob]:
    """The tests by the ids of cards. Those of `forget` are emptied. Raises CallerError."""
    import msgspec

    from router.analysis.drift.judged import CardDrift
    from router.analysis.drift.stored import to_bytes
    from router.gateway.learning.drift import DRIFT

    blobs = {blob.name.removeprefix(DRIFT): blob for blob in await state.blobs_after(0, DRIFT)}
    if forget is not None:
        if forget not in blobs:
            raise CallerError(f'no answer of "{forget}" was judged{did_you_mean(forget, blobs)}')
        emptied = msgspec.structs.replace(blobs[forget], content=to_bytes(CardDrift.empty("")))
        if not await state.swap_blob(emptied, time.time()):
            raise CallerError(f"{forget} was judged at the same moment; try again")
    return blobs


def _router(cards: Path | None, artifact: Path | None) -> Router:
    from router.loading import load_router

    return load_router(cards, None, artifact)


def _drifts(blobs: dict[str, Blob], router: Router) -> dict[str, CardDrift]:
    """The tests of the present cards, as they are now; those of other versions of a card are void."""
    from router.analysis.drift.stored import from_bytes
    from router.gateway.learning.memories import basis_of

    found = {}
    for card, blob in blobs.items():
        position = router.catalog.position(card)
        try:
            drifted = from_bytes(blob.content)
        except ValueError as error:
            typer.echo(f"the tests of {card}: the state {error}", err=True)
            continue
        if position is None or not drifted.basis:
            continue
        if drifted.basis == basis_of(router.predictor.id, router.catalog[position], router.evidence.get(card)):
            found[card] = drifted
    return found


def _days(stores_at: tuple[str | None, str | None], start_s: float, router: Router) -> list[DayTest]:
    """The tests of the prompts of each day since then; none without records."""
    from router.analysis.drift.traffic import REFERENCE_DAYS, compared_days, read_days
    from router.store.records.totals import DAY_S

    records = stores.backend_of(*stores_at).read_records()
    if records is None:
        return []
    with records:
        days = read_days(records, start_s - REFERENCE_DAYS * DAY_S, time.time(), router.predictor)
    # The days before the first one are only what it is compared with. Their tests had too few days before them.
    first = datetime.datetime.fromtimestamp(start_s // DAY_S * DAY_S, datetime.UTC).date().isoformat()
    return [test for test in compared_days(days) if test.day >= first]


def _as_json(card: str, alarm: Alarm) -> dict[str, Any]:
    import msgspec

    from router.analysis.drift.judged import advice

    return {
        "card": card,
        **msgspec.structs.asdict(alarm),
        "judgements_a_false_alarm": alarm.judgements_a_false_alarm,
        "advice": advice(card, alarm),
    }


def _calibrations(drifts: dict[str, CardDrift]) -> list[dict[str, Any]]:
    import msgspec

    from router.analysis.drift.calibration import calibration_of

    pairs = ((card, calibration_of(drifted.bins)) for card, drifted in sorted(drifts.items()))
    return [{"card": card, **msgspec.to_builtins(each)} for card, each in pairs if each is not None]


def _print_alarms(alarms: list[tuple[str, Alarm]], judged: int) -> None:
    from rich.markup import escape

    from router.analysis.drift.judged import advice
    from router.commands.render import console, table

    if not judged:
        typer.echo("no answer was judged yet (POST /v1/feedback, graders), so nothing is known about cards", err=True)
        return
    if not alarms:
        typer.echo(f"no card answers worse or better than before, in {judged:,} judged answers")
        return
    numbers = ("judged", "expected", "right")
    shown = table("card", "prompts", "answers", "since (UTC)", *numbers, "sure", "state", right=numbers)
    for card, alarm in alarms:
        shown.add_row(
            escape(card),
            escape(alarm.kind or "all"),
            alarm.direction,
            show_time(alarm.since_s),
            f"{alarm.judged}",
            f"{alarm.expected:.2f}",
            f"{alarm.value:.2f}",
            escape(_certainty(alarm)),
            "open" if alarm.ended_s is None else f"over {show_time(alarm.ended_s)}",
        )
    console().print(shown)
    for line in dict.fromkeys(advice(card, alarm) for card, alarm in alarms if alarm.is_open):
        console().print(escape(line))


def _certainty(alarm: Alarm) -> str:
    if alarm.key is not None:
        return f"not without {alarm.key}"
    return f"1 in {alarm.judgements_a_false_alarm:,} by chance"


def _print_calibration(drifts: dict[str, CardDrift]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    rows = _calibrations(drifts)
    if not rows:
        return
    numbers = ("judged", "right less forecast", "calibration error", "95 %", "by chance")
    shown = table("card", *numbers, right=numbers)
    for row in rows:
        low, high = row["interval"]
        shown.add_row(
            escape(row["card"]),
            f"{row['answers']:.0f}",
            f"{row['bias']:+.3f}",
            f"{row['error']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{row['by_chance']:.3f}",
        )
    console().print(shown)


def _print_days(days: list[DayTest]) -> None:
    from router.analysis.drift.traffic import ALPHA
    from router.commands.render import console, table

    if not days:
        typer.echo("the prompts of at least four days, fifty each, are needed to compare days", err=True)
        return
    found = [day for day in days if day.is_alarm]
    if not found:
        typer.echo(f"the prompts of none of {len(days) // 2} days differ from those of the days before")
        return
    numbers = ("prompts", "distance", "usual", "p", "novelty before", "now")
    shown = table("day (UTC)", "in", *numbers, "since", right=numbers)
    for day in found:
        shown.add_row(
            day.day,
            day.aspect,
            f"{day.prompts}",
            f"{day.distance:.3f}",
            f"{day.usual:.3f}",
            f"{day.p:.3f}",
            f"{day.before:.2f}",
            f"{day.now:.2f}",
            day.since or "",
        )
    console().print(shown)
    typer.echo(
        f"At most {ALPHA:.0%} of days are such by chance. The dashboard has the domains of the prompts; `route gaps` "
        "has those that are unlike the training."
    )

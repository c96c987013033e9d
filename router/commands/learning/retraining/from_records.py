"""`route train --from-records`: retrain the predictor from recorded requests whose answers were judged."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.learn.traffic.judged import Judgement
    from router.learn.traffic.retrain import Retrained, TrafficReport
    from router.perceive.predictor import Predictor
    from router.store.records.protocol import RecordStore

FromRecords = Annotated[
    str | None,
    typer.Option(
        "--from-records",
        metavar="STORE",
        help="Retrain from the judged answers in this store (a folder or a postgresql:// URL), instead of SETS.",
    ),
]
Since = Annotated[str, typer.Option("--since", help="With --from-records: only later requests, 90d or a date (UTC).")]
HeldOut = Annotated[
    float,
    typer.Option(
        "--held-out", min=0.1, max=0.9, help="With --from-records: the share of the newest answers, which judges."
    ),
]
TrustKey = Annotated[
    list[str] | None,
    typer.Option("--trust-key", metavar="ID", help="With records: votes of this key count fully. May be repeated."),
]
Parent = Annotated[
    Path | None,
    typer.Option(
        "--artifact",
        help="With --from-records: the artifact to begin with, which stays as it is.",
        show_default="built-in",
    ),
]
_REPORT = "traffic.json"
_NOTHING_NEW = 1
_MOST_JUDGED = 200_000


class Asked:
    """Which judged answers to train on."""

    def __init__(self, store: str, since: str, held_out: float, trusted: tuple[str, ...]) -> None:
        self.store, self.since, self.held_out, self.trusted = store, since, held_out, trusted


def retrain(
    asked: Asked, out: Path, cards: Path | None, policies: Path | None, artifact: Path | None, *, as_json: bool
) -> None:
    """Write the retrained artifact into `out`, and print the report. Exit code 1 where there is nothing to learn."""
    from router import Router, settings
    from router.learn.traffic.retrain import retrain as fit

    parent = artifact or settings.default_artifact_folder()
    if out.resolve() == parent.resolve():
        raise CallerError(f"--out {out} is the artifact to begin with; name a folder beside it, so that it stays")
    router = Router.default(cards, policies, parent)
    with open_records(asked.store, "--from-records") as records:
        found = judged_since(records, asked.since)
    result = fit(found, router, asked.held_out, asked.trusted)
    if result.predictor is not None:
        _save(result, result.predictor, parent, out)
    if as_json:
        written = None if result.predictor is None else str(out)
        options.print_json({"out": written, "report": result.report})
    else:
        _print(result.report, None if result.predictor is None else out)
    if result.predictor is None:
        raise typer.Exit(_NOTHING_NEW)


def open_records(where: str, option: str) -> RecordStore:
    """The records in a folder or a database. Raises CallerError where there are none."""
    from router import settings
    from router.store import open_store
    from router.store.records.postgres.address import without_password

    is_url = where.startswith(("postgresql://", "postgres://"))
    store = (open_store(settings.default_store(), records=where) if is_url else open_store(where)).read_records()
    if store is None or not store.last_number():
        raise CallerError(f"{option}: {without_password(where)} is no store with records")
    return store


def judged_since(records: RecordStore, since: str) -> list[Judgement]:
    """The judged answers to requests of this time, oldest first."""
    from router.commands.history.savings import read_since
    from router.learn.traffic.judged import judgements

    start_s = read_since(since)
    found = judgements(records.judged(_MOST_JUDGED, start_s))
    return [each for each in found if each.record.at >= start_s]


def _save(result: Retrained, predictor: Predictor, parent: Path, out: Path) -> None:
    """Write the artifact: the gate of plans and the spaces of cards are those of its parent."""
    import msgspec

    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(parent.iterdir()):
            if file.is_file() and file.name not in ("predictor.json", "head.npz", "report.json", _REPORT):
                shutil.copyfile(file, out / file.name)
        predictor.save(out)
        (out / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(result.report), indent=1) + b"\n")
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None


def _print(report: TrafficReport, out: Path | None) -> None:
    from rich.markup import escape

    from router.commands.learning.retraining.quality_table import print_comparison
    from router.commands.render import console, table

    terminal, held_out = console(), report.held_out
    terminal.print(
        f"{escape(report.parent)}, retrained from {report.trained_on:,} judged answers of {report.keys} keys, "
        f"{_day(report.since_s)} to {_day(report.until_s)}"
    )
    if report.left_out:
        left = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.left_out.items()))
        terminal.print(f"not used: {left}")
    terminal.print(
        f"the heaviest key has {report.largest_key_share:.0%} of the weight ({report.before_cap:.0%} before the cap)"
    )
    terminal.print(f"\nthe {held_out.judged:,} newest judged answers of {held_out.keys} keys, not trained on:\n")
    print_comparison(terminal, held_out)
    numbers = ("trained on", "judged", "judgement", "forecast before", "now")
    cards = table("card", *numbers, right=numbers)
    for line in report.cards:
        means = ("" if each is None else f"{each:.3f}" for each in (line.mean_value, line.old, line.new))
        cards.add_row(escape(line.card), f"{line.trained_on:,}", f"{line.judged:,}", *means)
    terminal.print(cards)
    if out is None:
        terminal.print("\nnothing is written: the past shows nothing that the artifact does not know")
    else:
        assert report.spread is not None
        terminal.print(
            f"\n{escape(str(out))}: artifact {report.artifact} (prior: level ±{report.spread.level:g}, "
            f"topics ±{report.spread.topic:g} logits)"
        )


def _day(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).date().isoformat()

"""`route promote` for artifacts: whether a retrained one may take the place of the other, and the switch to it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.learning.retraining.from_records import judged_since, open_records
from router.commands.live.shared_state import with_state
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.artifacts.comparison import ArtifactPromotion
    from router.gateway.learning.promoted import Promotions
    from router.store.state.protocol import StateStore

Apply = Annotated[
    bool, typer.Option("--apply", help="Artifacts: switch running gateways to NEW if it is promoted; OLD is kept.")
]
Rollback = Annotated[
    str | None,
    typer.Option("--rollback", metavar="WHY", help="Artifacts: switch back to the one before, and record why."),
]
Since = Annotated[str, typer.Option("--since", help="Artifacts: only later requests, 90d or a date (UTC).")]
_REFUSED = 1


class Asked:
    """What to compare: the folder `new` with `against`, on the records of a store."""

    def __init__(
        self,
        new: Path,
        against: str | None,
        records: str | None,
        since: str,
        budget: float | None,
        sample: int,
        trusted: tuple[str, ...],
    ) -> None:
        self.new, self.against, self.records, self.since = new, against, records, since
        self.budget, self.sample, self.trusted = budget, sample, trusted


class Shared:
    """The shared state of the gateways."""

    def __init__(self, store: str | None, url: str | None) -> None:
        self.store, self.url = store, url


def is_artifact(name: str) -> bool:
    """Whether this is the folder of an artifact."""
    return (Path(name) / "predictor.json").is_file()


def promote(
    asked: Asked, cards: Path | None, policies: Path | None, shared: Shared, *, is_applied: bool, as_json: bool
) -> None:
    """Compare, print, and switch gateways where that is asked for and nothing speaks against it."""
    from router import Router, settings
    from router.analysis.artifacts.comparison import NEGATIVE_SHARE, compare_artifacts

    if asked.records is None:
        raise CallerError("artifacts are compared on judged requests: --records STORE names the store")
    against = settings.default_artifact_folder() if asked.against is None else Path(asked.against)
    old, new = Router.default(cards, policies, against), Router.default(cards, policies, asked.new)
    if old.predictor.id == new.predictor.id:
        raise CallerError(f"{asked.new} and {against} are the same artifact, {old.predictor.id}")
    budget = NEGATIVE_SHARE if asked.budget is None else asked.budget
    with open_records(asked.records, "--records") as records:
        found = judged_since(records, asked.since)
        result = compare_artifacts(
            found,
            records,
            old,
            new,
            budget=budget,
            sample=asked.sample,
            trusted=asked.trusted,
            today=options.today(),
        )
    if is_applied and result.promoted:
        _switch(result, against, asked.new, shared)
    if as_json:
        options.print_json({"promoted": result.promoted, "applied": is_applied and result.promoted, "result": result})
    else:
        _print(result, budget, is_applied=is_applied)
    if not result.promoted:
        raise typer.Exit(_REFUSED)


def roll_back(why: str, shared: Shared) -> None:
    """Switch gateways back to the artifact before the promoted one. Raises CallerError where nothing is promoted."""
    from router.gateway.learning.promoted import change_promotions

    now_s = time.time()

    def without(promotions: Promotions) -> Promotions | None:
        return promotions.rolled_back(why, "operator", now_s) if len(promotions.chain) > 1 else None

    async def change(state: StateStore) -> Promotions | None:
        return await change_promotions(state, without, now_s)

    changed = with_state(shared.store, shared.url, change)
    if changed is None or changed.last_rollback is None:
        raise CallerError("no artifact is promoted, so there is nothing to roll back")
    last = changed.last_rollback
    typer.echo(f"{last.artifact} rolled back to {last.to}; running gateways follow within about a second")


def _switch(result: ArtifactPromotion, old: Path, new: Path, shared: Shared) -> None:
    from router.gateway.learning.promoted import Step, change_promotions

    now_s = time.time()
    steps = Step(str(old.resolve()), result.old, now_s), Step(str(new.resolve()), result.new, now_s)

    async def change(state: StateStore) -> Promotions | None:
        return await change_promotions(state, lambda before: before.promoted(*steps, now_s), now_s)

    with_state(shared.store, shared.url, change)


def _print(result: ArtifactPromotion, budget: float, *, is_applied: bool) -> None:
    from rich.markup import escape

    from router.commands.learning.retraining.quality_table import print_comparison
    from router.commands.render import console

    out, forecasts = console(), result.forecasts
    out.print(f"{result.new} in the place of {result.old}")
    skipped = f"; {result.trained_before:,} more were trained on" if result.trained_before else ""
    out.print(f"{forecasts.judged:,} judged answers of {forecasts.keys} keys{skipped}\n")
    print_comparison(out, forecasts)
    if (routes := result.routes) is not None:
        lost = f" ({routes.lost:,} could not be decided again)" if routes.lost else ""
        low, high = routes.change_ci95
        out.print(
            f"of {routes.requests:,} requests decided again{lost}, {routes.changed:,} go to another card; the answers "
            f"of {routes.good:,} of them were judged right\n"
            f"expected negative flips {routes.negative:.2%} (at most {budget:.2%}), positive {routes.positive:.2%}, "
            f"change {routes.change:+.2%} (95 % {low:+.2%} to {high:+.2%}); what was not judged is forecast"
        )
    out.print(f"\n{'promoted' if result.promoted else 'refused'}")
    for reason in result.refusals:
        out.print(f"• {escape(reason)}")
    if result.promoted and is_applied:
        out.print("running gateways follow within about a second; `route promote --rollback WHY` switches back")

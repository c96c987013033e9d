"""`route stages`: what plans and other optional stages cost and brought, and to turn off those that do not pay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.stages import Gain, StageReport

_SHOWN = {"all": "all kinds"}
_JUDGE = "grader.judge"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stages")(stages)


def stages(
    since: Annotated[str, typer.Option("--since", help="Only later requests: 30d or a date (UTC).")] = "30d",
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", help="Policy file: turn plans off there for the kinds of prompts where they do not pay."
        ),
    ] = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Print what each optional stage cost and brought, by kind of prompt."""
    import msgspec

    from router.analysis.experiments.shadows import shadows_in
    from router.analysis.stages import stage_report
    from router.commands.history.savings import read_since
    from router.commands.learning.retraining.from_records import judged_since
    from router.loading import load_predictor
    from router.store.records.protocol import Filter

    start_s = read_since(since)
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        return
    predictor = load_predictor(artifact)
    with recorded:
        judged = {each.record.id: each.value for each in judged_since(recorded, since)}
        report = stage_report(recorded, recorded.scan(Filter(routed=True, since=start_s)), judged, predictor)
        shadows = shadows_in(recorded.scan(Filter(shadows=True, since=start_s)))
        report = msgspec.structs.replace(report, shadows=tuple(shadows))
    written = {} if write is None else _turn_off(write, report)
    if as_json:
        options.print_json({"report": report, "does_not_pay": report.not_paying(), "written": written})
        return
    _print(report)
    if write is not None:
        shown = "; ".join(f"{plan}: {', '.join(kinds)}" for plan, kinds in written.items())
        typer.echo(f"{write}: {f'turned off: {shown}' if written else 'nothing to turn off'}")


def _turn_off(file: Path, report: StageReport) -> dict[str, list[str]]:
    """Write what does not pay into `stages_off` of a policy; what was off stays off. Returns what is new."""
    from router.decide.policy import Policy
    from router.formats.yaml.edit import set_keys
    from router.formats.yaml.file import load

    policy, _ = load(file, Policy, "a policy (keys and values)")
    found = {plan: kinds for plan, kinds in report.not_paying().items() if plan in policy.plans}
    off = {plan: list(kinds) for plan, kinds in policy.stages_off.items()}
    new = {plan: [kind for kind in kinds if kind not in off.get(plan, [])] for plan, kinds in found.items()}
    new = {plan: kinds for plan, kinds in new.items() if kinds}
    if new:
        for plan, kinds in new.items():
            off[plan] = [*off.get(plan, []), *kinds]
        set_keys(file, {"stages_off": off})
    elif not policy.plans:
        raise CallerError(f"--write: {file} has no plans, so there is no stage to turn off")
    return new


def _print(report: StageReport) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    out.print(f"{report.requests:,} routed requests")
    if report.lost:
        out.print(f"{report.lost:,} requests of plans could not be decided again, and are left out")
    if report.stages:
        numbers = ("requests", "calls", "$ per 1,000", "ms", "forecast gain", "judged", "judged gain", "net")
        shown = table("stage", "kind of prompt", *numbers, "", right=numbers)
        last = ""
        for line in report.stages:
            shown_stage = line.stage if line.stage == line.method else f"{line.stage} ({line.method})"
            name = "" if line.stage == last else shown_stage
            last = line.stage
            shown.add_row(
                escape(name),
                _SHOWN.get(line.kind, line.kind),
                f"{line.requests:,}",
                f"{line.calls:+.2f}",
                "" if line.extra_usd is None else f"{1_000 * line.extra_usd:+.3f}",
                "" if line.extra_ms is None else f"{line.extra_ms:+.0f}",
                _gain(line.forecast),
                "" if line.judged is None else f"{line.judged.answers:,}",
                "" if line.judged is None else _gain(line.judged),
                "" if line.net is None else f"{_gain(line.net)} ({line.by})",
                line.verdict,
            )
        out.print(shown)
        unpriced = max(line.unpriced for line in report.stages)
        if unpriced:
            out.print(f"the cost of up to {unpriced:,} requests of a stage is not known: its net leaves them out")
    else:
        out.print("no plan answered any of them, and none was explored")
    for shadow in report.shadows:
        count = shadow.pairs + shadow.failed
        out.print(
            f"shadow {escape(shadow.target)} of policy {shadow.policy}: {count:,} calls cost {shadow.spent_usd:.4g}$; "
            "route records shadow compares the answers"
        )
    for grader in report.graders:
        cost = (
            "route learning prints what its verdicts cost"
            if grader.grader == _JUDGE
            else "makes no calls, costs nothing"
        )
        out.print(f"{grader.grader}: on for {grader.requests:,} requests; {cost}")


def _gain(gain: Gain) -> str:
    low, high = gain.ci95
    return f"{gain.mean:+.3f} ±{(high - low) / 2:.3f}"

"""Tables and lines on the terminal: a decision, the catalogue, an evaluation report, tokens."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from router.formats import units

if TYPE_CHECKING:
    from router.cards import Card
    from router.cards.sources.refresh import RefreshReport
    from router.learn.evaluation.report import Report
    from router.propensities import Exploration
    from router.types import Candidate, Decision, PlanOutlook, Usage

_PIPE_WIDTH = 160


def console() -> Console:
    """Standard output. Where it is a pipe, which has no width, tables are wide."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=not sys.stdout.isatty())


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table. The columns in `right` are numbers, aligned to the right."""
    empty = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        numeric = column in right
        empty.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return empty


def print_decision(decision: Decision, top: int, explain: bool, evidence: Mapping[str, str] | None = None) -> None:
    """Print the chosen card, the reasons, and the next best candidates; `evidence` are sentences by what they are
    about: the prompt, or a card.
    """
    out = console()
    best: Candidate = decision.candidates[0]
    out.print(f"[bold green]{escape(decision.card)}[/]  {_summary(best)}")
    if decision.flags:
        out.print(f"flags     {escape(decision.flags)}")
    for name, texts in (("binding", decision.binding), ("relaxed", decision.relaxed)):
        if texts:
            out.print(f"{name}   {escape(', '.join(texts))}")
    if decision.outlook is not None:
        _print_plan(out, decision.outlook)
    guard = decision.guard
    if guard.state == "held" or (explain and guard.state != "off"):
        out.print(f"guard     {guard.state}: {escape(guard.reason)}")
    if explain and (exploration := decision.exploration) is not None:
        out.print(f"explores  {escape(exploration_in_words(exploration))}")
    out.print()
    parts = list(best.parts) if explain else []
    columns = ("card", "score", "quality", "±", "cost", "per 1,000", "latency", *(f"+{part}" for part in parts))
    shown = table(*columns, right=columns[1:])
    for candidate in decision.candidates[:top]:
        shown.add_row(
            escape(candidate.card),
            f"{candidate.score:.3f}",
            f"{candidate.quality:.2f}",
            f"{candidate.quality_std:.2f}",
            "?" if candidate.cost_usd is None else units.show_usd(round(candidate.cost_usd, 7)),
            "?" if candidate.cost_usd is None else units.show_usd_per_1000(candidate.cost_usd),
            "?" if candidate.latency_ms is None else units.show_milliseconds(candidate.latency_ms),
            *(f"{candidate.parts[part]:.3f}" for part in parts),
        )
    out.print(shown)
    hidden = len(decision.candidates) - top
    if hidden > 0:
        out.print(f"… and {hidden} more candidates (--top {len(decision.candidates)})")
    for candidate in decision.candidates[: top if explain else 1]:
        for sentence in candidate.assumed:
            out.print(f"{escape(candidate.card)}: {sentence}")
    if explain:
        _print_explanation(out, decision, evidence or {})
    elif decision.rejections:
        what = "cards and plans" if decision.plans else "cards"
        out.print(f"{len(decision.rejections)} {what} rejected (--explain shows why)")
    out.print(f"\n[dim]policy {decision.policy} · artifact {decision.artifact}[/]")


def exploration_in_words(exploration: Exploration) -> str:
    """Who answers with which probability, and why."""
    if exploration.prevented:
        return f"nothing: {exploration.prevented}"
    shares = ", ".join(f"{name} {100 * share:.3g} %" for name, share in exploration.propensities.items())
    if exploration.explored is not None:
        return f"{exploration.explored} answers in place of {exploration.choice}; each would with: {shares}"
    refused = "; another card was drawn, and could not be paid" if exploration.refused else ""
    return f"who answers: {shares}{refused}"


def _print_explanation(out: Console, decision: Decision, evidence: Mapping[str, str]) -> None:
    for subject, sentence in evidence.items():
        out.print(f"{escape(subject)}: {escape(sentence)}")
    _print_other_plans(out, decision)
    unless = ", unless the guard keeps the default card" if decision.guard.state == "held" else ""
    out.print(f"\nA score is the sum of its parts; the lowest wins{unless}.")
    _print_rejections(out, decision)


def _print_other_plans(out: Console, decision: Decision) -> None:
    """The plans that are candidates and were not chosen."""
    chosen = decision.outlook
    for name, plan in decision.plans.items():
        if name not in decision.rejections and (chosen is None or chosen.id != name):
            out.print()
            _print_plan(out, plan)


def _print_plan(out: Console, plan: PlanOutlook) -> None:
    """What is expected of a plan, and its calls as a tree."""
    cost = "unknown" if plan.cost_usd is None else units.show_usd(round(plan.cost_usd, 7))
    most = "unknown" if plan.most_cost_usd is None else units.show_usd(round(plan.most_cost_usd, 7))
    out.print(
        f"plan      {escape(plan.id)} ({plan.method}): quality {plan.quality:.2f}, "
        f"cost {cost} expected and {most} at most, "
        f"{plan.calls:.2f} calls expected and {plan.most_calls} at most"
    )
    out.print(f"          forecast by: {escape(plan.forecast_by)}")
    for number, step in enumerate(plan.steps, start=1):
        branch = "└─" if number == len(plan.steps) else "├─"
        price = "?" if step.cost_usd is None else units.show_usd(round(step.cost_usd, 7))
        out.print(
            f"          {branch} {step.role} {escape(step.card)}: called with {100 * step.probability:.0f} %, "
            f"quality {step.quality:.2f}, cost {price}"
        )
    if plan.quality_per_usd:
        worth = units.show_usd(0.01 / plan.quality_per_usd)
        out.print(f"          a further call is worth {worth} for each percentage point of quality")


def _summary(best: Candidate) -> str:
    cost = "unknown" if best.cost_usd is None else units.show_request_cost(round(best.cost_usd, 7))
    return f"quality {best.quality:.2f} ± {best.quality_std:.2f}, cost {cost}"


def _print_rejections(out: Console, decision: Decision) -> None:
    if not decision.rejections:
        return
    out.print()
    shown = table("rejected", "limit", "reason")
    for card, rejection in decision.rejections.items():
        shown.add_row(escape(card), escape(rejection.limit), escape("; ".join((rejection.reason, *rejection.also))))
    out.print(shown)


def print_cards(cards: Sequence[Card], measured: Sequence[bool]) -> None:
    """Print one line per card."""
    shown = table(
        "card",
        "provider",
        "size",
        "context",
        "input $/M",
        "output $/M",
        "released",
        "ability",
        right=("size", "context", "input $/M", "output $/M"),
    )
    for card, known in zip(cards, measured, strict=True):
        shown.add_row(
            escape(card.id),
            card.provider,
            units.show_parameters(card.size.total) if card.size else "?",
            units.show_tokens(card.context_tokens) if card.context_tokens else "?",
            f"{card.price.input_usd:g}" if card.price else "?",
            f"{card.price.output_usd:g}" if card.price else "?",
            card.released.isoformat()[:7] if card.released else "?",
            "measured" if known else "prior",
        )
    console().print(shown)


def print_report(report: Report, wide: bool = False) -> None:
    """Print an evaluation: the methods in a table, the verdicts, new models and prompts. `wide` shows every metric."""
    from router.learn.report import FIGURES, MAIN_FIGURES, sentences

    out = console()
    for sentence in sentences(report):
        out.print(escape(sentence))
    out.print(
        f"[bold]{escape(report.data_set)}[/]: {report.prompts} prompts, {report.models} models, {report.protocol}; "
        f"best single model {escape(report.best_single)} ({report.best_single_quality:.4f}), "
        f"oracle {report.oracle_quality:.4f}\n"
    )
    if report.methods:
        metrics = [
            (metric, head)
            for metric, head in FIGURES
            if (wide or metric in MAIN_FIGURES) and any(getattr(line, metric) is not None for line in report.methods)
        ]
        heads = [head for _, head in metrics]
        shown = table("method", *heads, right=heads)
        for line in report.methods:
            values = (getattr(line, metric) for metric, _ in metrics)
            shown.add_row(escape(line.method), *("" if value is None else f"{value:.4f}" for value in values))
        out.print(shown)
    if report.costs and any(line.aiq is not None for line in report.methods):
        out.print(f"[dim]costs: {escape(report.costs)}[/]")
    _print_verdicts(out, report)
    _print_new_models_and_prompts(out, report)
    for note in report.notes:
        out.print(f"note: {escape(note)}")
    if report.skipped:
        out.print(f"not run: {escape('; '.join(report.skipped))}")


def _print_verdicts(out: Console, report: Report) -> None:
    colours = {"better": "green", "worse": "red", "gains": "red"}
    for verdict in report.verdicts:
        colour = colours.get(verdict.result, "default")
        out.print(f"[{colour}]•[/] {escape(verdict.sentence)}")
    if (coverage := report.coverage) is not None and coverage.by_bin is not None:
        by_domain = coverage.by_domain
        domains = "" if by_domain is None else f", {by_domain:.1%} of {coverage.domain_cells} by domain"
        out.print(f"• 80 % intervals cover {coverage.by_bin:.1%} of {coverage.bin_cells} cells by forecast{domains}")


def _print_new_models_and_prompts(out: Console, report: Report) -> None:
    """Print the results on models and on kinds of prompts that were left out of the training."""
    if report.left_out:
        heads = ("probes", "AUC", "Brier", "share of the gain")
        shown = table("models left out", *heads, right=heads)
        for line in report.left_out:
            shown.add_row(
                escape(line.method),
                "all" if line.probes is None else str(line.probes),
                "" if line.auc is None else f"{line.auc:.4f}",
                f"{line.brier:.4f}",
                "" if line.gain is None else f"{line.gain:.1%}",
            )
        out.print(shown)
    if report.novelty:
        out.print()
        shown = table("novelty", "known", "unknown", "AUROC", "FPR@95", right=("AUROC", "FPR@95"))
        for detection in report.novelty:
            numbers = (f"{detection.auroc:.4f}", f"{detection.fpr_95:.4f}")
            shown.add_row(escape(detection.method), escape(detection.known), escape(detection.unknown), *numbers)
        out.print(shown)


def print_refresh_report(report: RefreshReport) -> None:
    """Print what may be out of date in the catalogue, one table a subject."""
    out = console()

    def section(title: str, shown: Table, note: str = "") -> None:
        out.print(f"[bold]{escape(title)}[/]" + ("" if shown.row_count else ": none"))
        if shown.row_count:
            out.print(shown)
        if note:
            out.print(escape(note))
        out.print()

    models = table("provider", "model", "released", "price per million tokens")
    for model in report.unlisted:
        released = model.released.isoformat() if model.released else ""
        models.add_row(escape(model.provider), escape(model.model), released, escape(model.price or ""))
    hidden = report.unlisted_total - len(report.unlisted)
    more = f"{hidden} more (--limit, --provider)" if hidden else ""
    section(f"Models of the price map ({report.price_map}) without a card", models, more)

    differences = table("card", "entry", "change")
    for difference in report.differences:
        change = ", ".join(difference.changes) if difference.entry else "the model is not in the map"
        differences.add_row(escape(difference.card), escape(difference.entry or ""), escape(change))
    section("Cards that differ from the price map", differences)

    old = table("card", "old", "of", "oldest", "benchmarks", right=("old", "of"))
    for facts in report.old_facts:
        oldest = facts.oldest.isoformat() if facts.oldest else "undated"
        old.add_row(
            escape(facts.card), str(len(facts.benchmarks)), str(facts.total), oldest, escape(_some(facts.benchmarks))
        )
    section(f"Cards with benchmarks older than {report.before.isoformat()}", old)

    incomplete = table("card", "missing")
    for card in report.incomplete:
        incomplete.add_row(escape(card.card), ", ".join(card.missing))
    section("Cards without benchmarks, release date or latency", incomplete)


def _some(names: Sequence[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def all_tokens(usage: Usage) -> str:
    """The tokens of an answer with their parts, in one line."""
    of_input = {
        "cached": usage.cached_input_tokens,
        "written to the cache": usage.cache_write_tokens,
        "audio": usage.audio_input_tokens,
    }
    of_output = {"reasoning": usage.reasoning_tokens, "audio": usage.audio_output_tokens}
    sides = (f"{usage.input_tokens} in{_parts(of_input)}", f"{usage.output_tokens} out{_parts(of_output)}")
    tier = f", tier {usage.service_tier}" if usage.service_tier else ""
    estimated = ", estimated: the upstream did not report all of them" if usage.estimated else ""
    return ", ".join(sides) + tier + estimated


def _parts(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f" ({parts})" if parts else ""

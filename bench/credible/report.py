"""The results as Markdown, on the screen and in a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from bench.credible import agents, everyday, footprint, placement


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [list(headers), ["---"] + ["---:"] * (len(headers) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def everyday_text(shown: Mapping[str, float | None], without: Mapping[str, float | None]) -> str:
    """The figures of everyday prompts."""
    rows = []
    for figure in everyday.FIGURES:
        holds = figure.holds(shown[figure.name])
        met = "" if holds is None else "yes" if holds else "no"
        values = (_three(figure.before), _three(shown[figure.name]), _three(without[figure.name]))
        rows.append((figure.name, figure.target, *values, met))
    return table(("everyday prompts", "target", "0.1.0", "now", "without ladder facts", "met"), rows)


def placement_text(placed: placement.Placement, trained: Set[str]) -> str:
    """The rank correlations, and the worst misses. `trained` are the sets that the predictor has learned from."""
    rows = [
        (
            f"{result.data_set}{' (trained on)' if result.data_set in trained else ''}",
            f"{result.models}",
            str(result.all_models),
            f"{result.with_benchmarks}",
            str(result.known),
            _three(result.ceiling),
        )
        for result in placed.sets
    ]
    rows.append(("mean over sets", "", _three(placed.mean), "", _three(placed.mean_known), ""))
    headers = ("cards by facts alone", "models", "Spearman (95 %)", "with benchmarks", "Spearman (95 %)", "ceiling")
    groups = (f"{name} {value:.3f} ({count} models)" for name, (count, value) in placed.by_facts.items())
    worst = (
        f"- {one.data_set}, {one.model} ({one.facts} facts): forecast {one.forecast_rank:.2f}, real {one.real_rank:.2f}"
        for one in placed.worst
    )
    return "\n\n".join(
        (
            table(headers, rows),
            f"Target of the mean: ≥ {placement.TARGET:g}. Ranks within sets, by number of known benchmarks: "
            + ", ".join(groups)
            + ".",
            f"The real levels on one set order the models of another with {placed.agreement:.3f} (the mean over "
            f"{placed.agreeing} pairs of sets that share at least eight models).",
            "Furthest from their rank (0 the worst of the set, 1 the best):\n\n" + "\n".join(worst),
        )
    )


def agents_text(found: Sequence[agents.Money], trained: Set[str]) -> str:
    """The cost at the quality of the best single model."""
    return "\n\n".join(_agents_parts(found, "trained on" if agents.SET in trained else "not trained on"))


def _agents_parts(found: Sequence[agents.Money], note: str) -> Iterator[str]:
    for money in found:
        quality, cost = f"{money.best_quality:.3f}", f"{money.best_cost_usd:.3f} $ a task"
        yield f"{agents.SET} ({note}), {money.models} models. Best of them: {money.best}, quality {quality}, {cost}."
        rows = [
            (way.name, str(way.quality_gain), str(way.cost_fraction), f"{way.cards:.1f}", way.most)
            for way in money.ways
        ]
        yield table(("choice", "quality − the best's (95 %)", "cost / the best's (95 %)", "cards", "most often"), rows)
        yield agents.verdict(money)


def footprint_text(now: footprint.Footprint, before: footprint.Footprint | None) -> str:
    """Time, memory and size."""
    names = {
        "p50_ms": "CPU of a decision, p50 ms",
        "p99_ms": "p99 ms",
        "memory_mb": "memory, MB",
        "size_mb": "size, MB",
    }
    rows = []
    for name, shown in names.items():
        value = getattr(now, name)
        old = None if before is None else getattr(before, name)
        rows.append((shown, _three(old), _three(value), "" if old is None else f"{value / old - 1:+.0%}"))
    fits = "yes" if now.size_mb <= footprint.MOST_MB else "no"
    text = table(("100 cards, prompts of about 100 tokens", "0.1.0", "now", "change"), rows)
    return f"{text}\n\nEncoder and predictor together at most {footprint.MOST_MB:g} MB: {fits}."


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

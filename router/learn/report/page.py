"""The report of an evaluation as one self-contained HTML file, without scripts, fonts and network access."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from router.errors import ConfigurationError
from router.learn.evaluation.methods import HINDSIGHT, OURS, SHUFFLED
from router.learn.evaluation.metrics import Quality
from router.learn.evaluation.report import Report
from router.learn.report import terms
from router.learn.report.heat_map import Cell, heat_map
from router.learn.report.summary import method_of, sentences
from router.learn.report.svg import COLOURS, Line, Whisker, curves, prompt_map, reliability, whiskers
from router.learn.report.terms import FIGURE_MEANINGS, FIGURES, MAIN_FIGURES, method_meaning

_MAX_DOMAINS = 40
_MAX_MODELS = 16
_MAX_DIFFERENCE = 0.15
_NOT_DRAWN = ("oracle", SHUFFLED, HINDSIGHT, "control: prompt length", "cheapest", "random")
_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2329;--faint:#6b7680;--rule:#dde2e6;--accent:#1f6f8b;--good:#2b7a4b;
--bad:#b3432b;--wash:#f4f6f8;--c0:#1f6f8b;--c1:#d1682b;--c2:#5b8c2a;--c3:#8a4fb0;--c4:#c43e6f;--c5:#8c6d1f;--c6:#3f7fd1;
--c7:#2a9d8f;--c8:#a05a3c;--c9:#7d868e}
@media(prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e4e8eb;--faint:#97a2ab;--rule:#313a42;--accent:#4fb3d1;
--good:#63c48b;--bad:#ef8a72;--wash:#1c2227;--c0:#4fb3d1;--c1:#f0945a;--c2:#98cf60;--c3:#c394e6;--c4:#f07ba3;--c5:#d9b75a;
--c6:#86b4f2;--c7:#5fd1c2;--c8:#d79a7c;--c9:#9aa4ac}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;background:var(--paper);color:var(--ink);
max-width:68rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.6rem 0 .4rem}
p{max-width:46rem;margin:.4rem 0}.faint{color:var(--faint)}
.summary{font-size:1.1rem;margin:1.2rem 0 .6rem}.summary p{margin:.55rem 0;max-width:52rem}
.verdicts{list-style:none;padding:0;margin:1.2rem 0}.verdicts li{padding:.45rem .8rem;border-left:4px solid var(--rule);
background:var(--wash);margin:.35rem 0}.verdicts .better,.verdicts .nothing{border-color:var(--good)}
.verdicts small{display:block;color:var(--faint)}.verdicts .worse,.verdicts .gains{border-color:var(--bad)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th:first-child,td:first-child{text-align:left}th{color:var(--faint);font-weight:600;vertical-align:bottom}
th small{display:block;font-weight:400;line-height:1.25;white-space:normal;min-width:6.5rem;max-width:11rem;
margin-left:auto}
td:first-child small,.heat th[scope=row] small{margin:0;white-space:normal;max-width:15rem}
.wide:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.heat{border-collapse:separate;border-spacing:2px}.heat th,.heat td{border:0;padding:.22rem .4rem}
.heat td{text-align:center;min-width:4.3rem;line-height:1.25}.heat td.chosen{box-shadow:inset 0 0 0 2px var(--c1)}
.heat td small{display:block;font-size:.72rem;color:var(--ink)}.heat .share{font-weight:600}
.heat thead th{text-align:left;padding-bottom:.4rem}.heat thead span{display:block;writing-mode:vertical-rl;
transform:rotate(180deg);margin:0 auto;max-height:20rem;overflow:hidden;text-overflow:ellipsis}
.heat th:first-child{position:sticky;left:0;background:var(--paper);max-width:13rem;white-space:normal;color:var(--ink)}
tr.ours td{font-weight:700;background:var(--wash)}
td small{display:block;color:var(--faint);font-weight:400;line-height:1.1}
summary{cursor:pointer;color:var(--faint);margin:.8rem 0 .3rem}
figure{margin:.6rem 0;overflow-x:auto}svg{display:block;width:100%;height:auto;font-size:12px;fill:var(--ink)}
svg text{fill:var(--ink)}svg .grid{stroke:var(--rule)}svg .zero{stroke:var(--faint);stroke-dasharray:3 3}
svg .below line{stroke:var(--good)}svg .below circle{fill:var(--good)}svg .above line{stroke:var(--bad)}
svg .above circle{fill:var(--bad)}svg .level line{stroke:var(--faint)}svg .level circle{fill:var(--faint)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.3rem 0;font-size:.86rem}
.legend i{display:inline-block;width:.85em;height:.85em;border-radius:2px;margin-right:.4em;vertical-align:-.08em}
"""


def write_html(file: Path, report: Report) -> None:
    """Write the page. Raises ConfigurationError where the file cannot be written."""
    try:
        file.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None


def page(report: Report) -> str:
    """The report as HTML."""
    title = f"{report.data_set}: {report.protocol}"
    sections = [
        *_verdicts(report),
        *_methods(report),
        *_costs(report),
        *_calibration(report),
        *_domains(report),
        *_map(report),
        *_left_out(report),
        *_novelty(report),
        *_remarks(report),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{_text(report.data_set)}</h1>{_opening(report)}"
        f"{''.join(sections)}</body></html>\n"
    )


def _opening(report: Report) -> str:
    summary_text = "".join(f"<p>{_prose(sentence)}</p>" for sentence in sentences(report))
    how = (
        ""
        if report.bottom_line is None
        else _details("how this was computed", _paragraph(method_of(report.bottom_line, report.costs)))
    )
    facts = (
        f"{report.prompts:,} prompts, {report.models} models; {report.protocol}; encoder {report.encoder}. Best single "
        f"model (always the same one) {report.best_single} ({report.best_single_quality:.4f}), oracle (the best model "
        f"of each prompt, which nobody knows) {report.oracle_quality:.4f}."
    )
    summary = f'<section class="summary" aria-label="summary">{summary_text}</section>{how}' if summary_text else ""
    return f"{summary}{_paragraph(facts)}"


def _verdicts(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    classes = {"gains nothing": "nothing"}
    verdicts = "".join(
        f'<li class="{classes.get(verdict.result, verdict.result)}">{_text(verdict.sentence)}'
        f"{_small(FIGURE_MEANINGS.get(verdict.figure, ''))}</li>"
        for verdict in report.verdicts
    )
    return [_section("Against other methods", terms.VERDICTS), f'<ul class="verdicts">{verdicts}</ul>']


def _methods(report: Report) -> list[str]:
    if not report.methods:
        return []
    shown = [(name, head) for name, head in FIGURES if any(getattr(line, name) is not None for line in report.methods)]
    main = [(name, head) for name, head in shown if name in MAIN_FIGURES]
    rest = [(name, head) for name, head in shown if name not in MAIN_FIGURES]
    parts = [_section("Methods", terms.INTERVALS), _method_table(report.methods, main)]
    parts.append(_details("more figures", _method_table(report.methods, rest)))
    for figure, head in (("auc", "AUC"), ("quality", "quality")):
        items = [
            Whisker(line.method, difference.value, difference.low, difference.high)
            for line in report.methods
            if (difference := line.minus_ours.get(figure)) is not None and line.method != "oracle"
        ]
        items = [item for item in items if abs(item.value) < _MAX_DIFFERENCE]
        if items:
            about = f"{head}: {FIGURE_MEANINGS[figure]}. {terms.DIFFERENCES.format(most=_MAX_DIFFERENCE)}"
            parts += [_section(f"{head}: methods minus ours", about), whiskers(items, f"{head} minus ours")]
    return parts


def _costs(report: Report) -> list[str]:
    drawable = [line for line in report.methods if line.curve and line.method not in _NOT_DRAWN]
    if not drawable:
        return []
    # More than ten lines would not be distinguishable: the weakest baselines are in the table only.
    baselines = sorted((line for line in drawable if line.trained), key=lambda line: -(line.aiq or 0.0))
    others = [line for line in drawable if not line.trained]
    lines = [*others, *baselines][:COLOURS]
    drawn = [
        Line(line.method, line.curve, number, line.method == OURS, not line.trained and line.method != OURS)
        for number, line in enumerate(lines)
    ]
    about = f"{terms.COSTS} Costs: {report.costs}."
    return [_section("Quality over cost", about), curves(drawn, "cost", "quality")]


def _calibration(report: Report) -> list[str]:
    if not report.calibration:
        return []
    about = terms.CALIBRATION
    if (coverage := report.coverage) is not None:
        shares = [
            f"{share:.1%} of {count} cells by {grouping}"
            for share, count, grouping in (
                (coverage.by_bin, coverage.bin_cells, "model and forecast"),
                (coverage.by_domain, coverage.domain_cells, "model and domain"),
            )
            if share is not None
        ]
        about += f" The 80 % intervals cover {' and '.join(shares)}." if shares else ""
    bins = [(row.forecast, row.score, row.outcomes) for row in report.calibration]
    return [_section("Calibration", about), reliability(bins)]


def _domains(report: Report) -> list[str]:
    if not report.domains:
        return []
    largest = sorted(report.domains, key=lambda domain: (-domain.prompts, domain.name))[:_MAX_DOMAINS]
    models = _shown_models(report)
    cells = [
        [Cell(domain.scores[model], domain.forecasts[model], domain.chosen[model]) for model in models]
        for domain in largest
    ]
    about = terms.DOMAINS
    if len(models) < len(report.model_names):
        about += f" The {len(models)} of {len(report.model_names)} models that are chosen most, or else best."
    if len(report.domains) > len(largest):
        about += f" The {len(largest)} largest of {len(report.domains)} domains."
    rows = [(domain.name or "no domain", domain.prompts) for domain in largest]
    return [_section("Domains", about), heat_map(rows, [report.model_names[model] for model in models], cells)]


def _shown_models(report: Report) -> list[int]:
    """The columns of the models that are chosen most, then of the best, in the order of their mean scores."""
    every = range(len(report.model_names))
    means = [sum(domain.prompts * (domain.scores[model] or 0.0) for domain in report.domains) for model in every]
    chosen = [sum(domain.prompts * domain.chosen[model] for domain in report.domains) for model in every]
    shown = sorted(every, key=lambda model: (-chosen[model], -means[model], report.model_names[model]))[:_MAX_MODELS]
    return sorted(shown, key=lambda model: (-means[model], report.model_names[model]))


def _map(report: Report) -> list[str]:
    if report.map is None:
        return []
    about = f"{terms.MAP} {len(report.map.x)} of the prompts."
    return [_section("Map of prompts", about), prompt_map(report.map.x, report.map.y, report.map.domains)]


def _left_out(report: Report) -> list[str]:
    if not report.left_out:
        return []
    rows = "".join(
        _row(
            line.method,
            "all" if line.probes is None else str(line.probes),
            "" if line.auc is None else f"{line.auc:.4f}",
            f"{line.brier:.4f}",
            "" if line.gain is None else f"{line.gain:.1%}",
        )
        for line in report.left_out
    )
    heads = ("method", "probes", "AUC", "Brier", "share of the gain")
    return [_section("New models", terms.LEFT_OUT), _table("models left out of the training", heads, rows)]


def _novelty(report: Report) -> list[str]:
    if not report.novelty:
        return []
    rows = "".join(
        _row(
            line.method,
            f"{line.known} ({line.known_prompts})",
            f"{line.unknown} ({line.unknown_prompts})",
            f"{line.auroc:.4f}",
            f"{line.fpr_95:.4f}",
        )
        for line in report.novelty
    )
    heads = ("method", "known", "unknown", "AUROC", "FPR@95")
    return [_section("Out-of-domain prompts", terms.NOVELTY), _table("detection of unknown prompts", heads, rows)]


def _remarks(report: Report) -> list[str]:
    lines = [*report.notes, *(f"not run: {reason}" for reason in report.skipped)]
    if report.draws:
        lines.append(f"{report.draws} bootstrap draws, random state {report.random_state}")
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return [_section("Remarks", ""), f"<ul>{items}</ul>"] if lines else []


def _method_table(methods: Sequence[Quality], figures: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr{' class=ours' if line.method == OURS else ''}>"
        f"<td>{_text(line.method)}{_small(method_meaning(line.method))}</td>"
        + "".join(f"<td>{_figure(line, name)}</td>" for name, _ in figures)
        + "</tr>"
        for line in methods
    )
    return _table(
        "figures of every method",
        ("method", *(head for _, head in figures)),
        rows,
        ("", *(FIGURE_MEANINGS[name] for name, _ in figures)),
    )


def _figure(line: Quality, name: str) -> str:
    value = getattr(line, name)
    if value is None:
        return ""
    interval = line.intervals.get(name)
    small = "" if interval is None else f"<small>{interval[0]:.3f} – {interval[1]:.3f}</small>"
    return f"{value:.4f}{small}"


def _section(title: str, about: str) -> str:
    return f"<h2>{_text(title)}</h2>{_paragraph(about) if about else ''}"


def _paragraph(text: str) -> str:
    return f'<p class="faint">{_prose(text)}</p>'


def _prose(text: str) -> str:
    """Escaped text in which no line begins with a percent sign."""
    return _text(text).replace(" %", "&nbsp;%")


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _small(text: str) -> str:
    return f"<small>{_text(text)}</small>" if text else ""


def _table(label: str, heads: Sequence[str], rows: str, meanings: Sequence[str] = ()) -> str:
    """A table with scrolling of its own; `meanings` are short texts under the heads."""
    under = [*map(_small, meanings), *([""] * (len(heads) - len(meanings)))]
    shown = "".join(f'<th scope="col">{_text(head)}{small}</th>' for head, small in zip(heads, under, strict=True))
    start = f'<div class="wide" tabindex="0" role="region" aria-label="{_text(label)}"><table>'
    return f"{start}<thead><tr>{shown}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(*cells: str) -> str:
    return f"<tr>{''.join(_cells(cells))}</tr>"


def _cells(cells: Iterable[str]) -> list[str]:
    return [f"<td>{_text(cell)}</td>" for cell in cells]


def _text(text: str) -> str:
    return html.escape("".join(character if character.isprintable() else " " for character in text))

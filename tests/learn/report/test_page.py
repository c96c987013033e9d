from __future__ import annotations

import html
import html.parser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import ConfigurationError
from router.learn.data import RoutingSet
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate
from router.learn.evaluation.ood import UnknownPrompts
from router.learn.evaluation.report import Domain, Report
from router.learn.report.heat_map import Cell, heat_map
from router.learn.report.page import page, write_html
from router.learn.report.summary import sentences
from router.learn.report.svg import Line, Whisker, curves, whiskers
from router.learn.report.terms import FIGURE_MEANINGS, FIGURES, method_meaning
from router.perceive.text.encoder import StaticEncoder

_VOID = {"meta", "circle", "line", "rect", "polyline", "br"}


class Reader(html.parser.HTMLParser):
    """Collects the elements of a page and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.links: list[str] = []
        self.heads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.heads.append(data)


@pytest.fixture(scope="module")
def report(planted_set: RoutingSet, encoder: StaticEncoder) -> Report:
    sums, poems = (
        planted_set.rows(np.arange(0, 110)),
        UnknownPrompts("late", planted_set.rows(np.arange(110, 120)).prompts),
    )
    return evaluate(sums, encoder, EvaluationSettings(folds=3, draws=50, prompt_map=True), unknown=poems)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_has_every_section_and_closes_every_element(report: Report) -> None:
    heads = read(page(report)).heads
    assert heads == [
        "Against other methods",
        "Methods",
        "AUC: methods minus ours",
        "quality: methods minus ours",
        "Quality over cost",
        "Calibration",
        "Domains",
        "Map of prompts",
        "Out-of-domain prompts",
        "Remarks",
    ]


def test_the_page_needs_no_network_and_runs_no_script(report: Report) -> None:
    text = page(report)
    reader = read(text)
    assert reader.links == []
    assert "script" not in reader.count
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_lists_every_verdict_and_every_method(report: Report) -> None:
    text = page(report)
    for words in (*(verdict.sentence for verdict in report.verdicts), *(line.method for line in report.methods)):
        assert words in text


def test_the_page_opens_with_the_three_sentences(report: Report) -> None:
    text = page(report)
    opening = text[text.index("</h1>") : text.index("<h2>")]
    assert len(sentences(report)) == 3
    for sentence in sentences(report):
        assert sentence.replace(" %", "&nbsp;%") in opening


def test_a_cell_of_the_heat_map_shows_the_measured_score_the_forecast_and_the_share_of_choices(report: Report) -> None:
    text = page(report)
    table = text[text.index('<table class="heat">') :]
    for domain in report.domains:
        for measured, forecast, chosen in zip(domain.scores, domain.forecasts, domain.chosen, strict=True):
            mark = f'<small class="share">chosen {chosen:.0%}</small>' if chosen >= 0.005 else "</td>"
            assert f"{measured:.2f}<small>{forecast:.2f}</small>{mark}" in table


def test_a_cell_of_a_model_that_was_not_run_says_so() -> None:
    assert "not run<small>0.40</small></td>" in heat_map([("sums", 3)], ["a"], [[Cell(None, 0.4, 0.0)]])


def test_of_many_models_the_chosen_ones_are_shown(report: Report) -> None:
    names = tuple(f"model-{number:02}" for number in range(40))
    many = msgspec.structs.replace(
        report,
        model_names=names,
        domains=(Domain("sums", 9, (0.9,) * 39 + (0.1,), (0.5,) * 40, (0.0,) * 39 + (1.0,)),),
    )
    text = page(many)
    assert "The 16 of 40 models that are chosen most, or else best." in text
    assert ("model-39" in text, "model-20" in text) == (True, False)


def test_the_map_has_one_dot_per_prompt(report: Report) -> None:
    assert read(page(report)).count["circle"] > 110


def test_every_figure_and_every_method_is_explained_where_it_stands(report: Report) -> None:
    text = page(report)
    for name, head in FIGURES:
        if any(getattr(line, name) is not None for line in report.methods):
            assert f">{head}<small>{html.escape(FIGURE_MEANINGS[name])}</small></th>" in text
    for line in report.methods:
        assert method_meaning(line.method), line.method
    assert set(FIGURE_MEANINGS) == {name for name, _ in FIGURES}


def test_names_from_the_data_cannot_become_markup(report: Report) -> None:
    hostile = msgspec.structs.replace(
        report,
        data_set="<script>alert(1)</script>",
        model_names=("<b>", *report.model_names[1:]),
        domains=tuple(msgspec.structs.replace(domain, name='"><img>') for domain in report.domains),
    )
    count = read(page(hostile)).count
    assert not {"script", "b", "img"} & set(count)


def test_a_report_of_left_out_models_has_one_section(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    assert read(page(evaluate(planted_set, encoder, EvaluationSettings(by="model")))).heads == ["New models"]


def test_the_error_names_a_page_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none/report\.html: cannot be written"):
        write_html(tmp_path / "none" / "report.html", report)


def test_the_written_file_is_the_page(report: Report, tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", report)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(report)


def test_a_single_point_and_a_level_curve_can_be_drawn() -> None:
    assert "<polyline" in curves([Line("x", ((0.0, 0.5), (1.0, 0.5)), 0)], "cost", "quality")
    assert "<polyline" in curves([Line("x", ((0.3, 0.5),), 0)], "cost", "quality")


@pytest.mark.parametrize(("low", "high", "kind"), [(-0.2, -0.1, "below"), (-0.1, 0.1, "level"), (0.1, 0.2, "above")])
def test_a_whisker_shows_its_side_of_zero(low: float, high: float, kind: str) -> None:
    assert f'<g class="{kind}">' in whiskers([Whisker("x", (low + high) / 2, low, high)], "minus ours")


@pytest.mark.parametrize("span", [1e-4, 0.03, 0.7, 5.0, 420.0])
def test_an_axis_has_a_handful_of_round_numbers(span: float) -> None:
    drawn = curves([Line("x", ((0.0, 0.0), (span, 1.0)), 0)], "cost", "quality")
    vertical = [part for part in drawn.split("<line")[1:] if 'y1="14"' in part]
    assert 3 <= len(vertical) <= 9

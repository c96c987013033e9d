"""Plots of a report as SVG: curves, whiskers, a reliability diagram, a map of prompts.

Colours are CSS variables of the page, so that one plot fits light and dark screens: `--ink`, `--faint`, `--paper`,
`--accent`, and `--c0` to `--c9` for the items of a legend.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from msgspec import Struct

COLOURS = 10

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 44
_TICKS = 6


class Line(Struct, frozen=True):
    """A curve. `colour` is a number from 0 to 9; `ours` draws it bold, `dashed` marks a reference."""

    name: str
    points: tuple[tuple[float, float], ...]
    colour: int
    ours: bool = False
    dashed: bool = False


class Whisker(Struct, frozen=True):
    """A value with its interval."""

    name: str
    value: float
    low: float
    high: float


def curves(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """Several lines in one plot, with a legend; ours is drawn last, so that it is on top."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    frame = _Frame(min(xs), max(xs), min(ys), max(ys))
    drawn = []
    for line in sorted(lines, key=lambda line: line.ours):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        style = f'stroke="var(--c{line.colour})" stroke-width="{3.5 if line.ours else 1.6}"'
        style += ' stroke-dasharray="5 4"' if line.dashed else ""
        drawn.append(f'<polyline points="{path}" fill="none" {style}><title>{_text(line.name)}</title></polyline>')
    legend = _legend([(line.name, line.colour) for line in lines])
    return _figure(frame.axes(x_label, y_label) + "".join(drawn), f"{y_label} over {x_label}", legend)


def whiskers(items: Sequence[Whisker], x_label: str) -> str:
    """Values with their intervals, one below the other, with a line at zero."""
    left, row = 250, 24
    height = _TOP + row * len(items) + _BOTTOM
    frame = _Frame(
        min(0.0, *(item.low for item in items)),
        max(0.0, *(item.high for item in items)),
        0,
        1,
        left=left,
        height=height,
    )
    zero = frame.x(0)
    parts = [
        frame.axes(x_label, "", horizontal=False),
        f'<line class="zero" x1="{zero:.1f}" y1="{_TOP}" x2="{zero:.1f}" y2="{height - _BOTTOM}"/>',
    ]
    for number, item in enumerate(items):
        y = _TOP + row * (number + 0.5)
        kind = "below" if item.high < 0 else "above" if item.low > 0 else "level"
        words = f"{item.name}: {item.value:+.4f} [{item.low:+.4f}, {item.high:+.4f}]"
        parts.append(
            f'<g class="{kind}"><title>{_text(words)}</title>'
            f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{_text(_short(item.name, 38))}</text>'
            f'<line x1="{frame.x(item.low):.1f}" y1="{y}" x2="{frame.x(item.high):.1f}" y2="{y}" stroke-width="2"/>'
            f'<circle cx="{frame.x(item.value):.1f}" cy="{y}" r="4"/></g>'
        )
    return _figure("".join(parts), x_label, "", height)


def reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    """Mean score over mean forecast, with the diagonal; the area of a dot is the number of outcomes."""
    most = max(count for _, _, count in bins)
    frame = _Frame(0, 1, 0, 1, width=440, height=420)
    dots = "".join(
        f'<circle cx="{frame.x(forecast):.1f}" cy="{frame.y(score):.1f}" r="{2.5 + 11 * (count / most) ** 0.5:.1f}" '
        f'fill="var(--c0)" fill-opacity="0.65"><title>forecast {forecast:.3f}, score {score:.3f}, '
        f"{count} outcomes</title></circle>"
        for forecast, score, count in bins
    )
    line = f'<line class="zero" x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1)}" y2="{frame.y(1)}"/>'
    body = frame.axes("mean forecast", "mean score") + line + dots
    return _figure(body, "mean score over mean forecast", "", 420, 440)


def prompt_map(xs: Sequence[float], ys: Sequence[float], names: Sequence[str]) -> str:
    """One dot for each prompt, coloured by domain; domains after the largest ones share the last colour."""
    sizes = sorted({name: names.count(name) for name in names}.items(), key=lambda item: (-item[1], item[0]))
    named = [name for name, _ in sizes[: COLOURS - 1 if len(sizes) > COLOURS else COLOURS]]
    colour = {name: number for number, name in enumerate(named)}
    frame = _Frame(min(xs), max(xs), min(ys), max(ys), height=460)
    dots = "".join(
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.2" fill="var(--c{colour.get(name, COLOURS - 1)})" '
        f'fill-opacity="0.75"><title>{_text(name)}</title></circle>'
        for x, y, name in zip(xs, ys, names, strict=True)
    )
    legend = [(name or "no domain", number) for name, number in colour.items()]
    if len(sizes) > len(named):
        legend.append((f"{len(sizes) - len(named)} more", COLOURS - 1))
    body = frame.axes("first component", "second component", numbers=False) + dots
    return _figure(body, "map of prompts", _legend(legend), 460)


class _Frame:
    """The coordinate system of a plot: converts values to pixels and draws the axes."""

    def __init__(
        self,
        x_least: float,
        x_most: float,
        y_least: float,
        y_most: float,
        *,
        left: int = _LEFT,
        width: int = _WIDTH,
        height: int = _HEIGHT,
    ) -> None:
        self._left, self._width, self._height = left, width, height
        self._x_least, self._x_span = _span(x_least, x_most)
        self._y_least, self._y_span = _span(y_least, y_most)

    def x(self, value: float) -> float:
        return self._left + (value - self._x_least) / self._x_span * (self._width - self._left - _RIGHT)

    def y(self, value: float) -> float:
        return self._height - _BOTTOM - (value - self._y_least) / self._y_span * (self._height - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str, *, horizontal: bool = True, numbers: bool = True) -> str:
        low, right = self._height - _BOTTOM, self._width - _RIGHT
        parts = []
        for value in _ticks(self._x_least, self._x_span) if numbers else ():
            x = self.x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{low}"/>')
            parts.append(f'<text x="{x:.1f}" y="{low + 17}" text-anchor="middle">{value:g}</text>')
        for value in _ticks(self._y_least, self._y_span) if horizontal and numbers else ():
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{self._left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{self._left - 7}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        middle = (self._left + right) / 2
        parts.append(f'<text x="{middle:.0f}" y="{self._height - 6}" text-anchor="middle">{_text(x_label)}</text>')
        if y_label:
            place = f"translate(13 {(_TOP + low) / 2:.0f}) rotate(-90)"
            parts.append(f'<text transform="{place}" text-anchor="middle">{_text(y_label)}</text>')
        return "".join(parts)


def _span(least: float, most: float) -> tuple[float, float]:
    """The start and the length of an axis, with a margin at both ends unless it is exactly [0, 1]."""
    if (least, most) == (0, 1):
        return 0.0, 1.0
    margin = 0.04 * (most - least) or 0.5
    return least - margin, most - least + 2 * margin


def _ticks(least: float, span: float) -> list[float]:
    """Round numbers along an axis."""
    rough = span / _TICKS
    power = 10.0 ** len(f"{int(rough)}") / 10 if rough >= 1 else 1.0
    while power > rough:
        power /= 10
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = -int(-least / step) if least < 0 else int(least / step) + (least > 0)
    return [round(number * step, 10) for number in range(first, first + 3 * _TICKS) if number * step <= least + span]


def _legend(names: Sequence[tuple[str, int]]) -> str:
    items = "".join(f'<li><i style="background:var(--c{colour})"></i>{_text(name)}</li>' for name, colour in names)
    return f'<ul class="legend">{items}</ul>'


def _figure(body: str, label: str, legend: str, height: float = _HEIGHT, width: float = _WIDTH) -> str:
    drawing = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img"'
    return f'<figure>{drawing} aria-label="{_text(label)}">{body}</svg>{legend}</figure>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(text: str) -> str:
    return html.escape("".join(character if character.isprintable() else " " for character in text))

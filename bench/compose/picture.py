"""Quality against cost of single choice and of plans, one panel a pool, as SVG for light and dark pages."""

from __future__ import annotations

import html

from bench.compose.measure import Pools

_PANEL, _HEIGHT = 300, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 84
_LEGEND_COLUMN, _LEGEND_ROW = 330, 18
_STYLE = (
    "svg{font:12px system-ui,sans-serif;--ink:#1d2329;--faint:#6b7680;--rule:#dde2e6;--a:#6b7680;--b:#c8553d;"
    "--c:#1f6f8b;--d:#7a5195}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e4e8eb;--faint:#97a2ab;--rule:#313a42;--a:#97a2ab;--b:#f0945a;"
    "--c:#4fb3d1;--d:#b48fd0}}text{fill:var(--ink)}.grid{stroke:var(--rule)}.small{fill:var(--faint)}polyline{fill:none;"
    "stroke-width:2}"
)
_LINES = (
    ("single", "single_cost", "best single choice", "--a", "5 4"),
    ("own", "own_cost", "with plans, trained gate", "--c", ""),
    ("plans", "plans_cost", "with plans, a gate for each price of money", "--d", "2 3"),
    ("shipped", "shipped_cost", "with plans, shipped gate, models it never saw", "--b", ""),
)


def draw(pools: Pools) -> str:
    """The picture. Costs are multiples of what the best single model of the pool costs."""
    width = _PANEL * len(pools)
    panels = [
        f'<g transform="translate({number * _PANEL} 0)">{_panel(name, budgets)}</g>'
        for number, (name, budgets) in enumerate(pools.items())
    ]
    legend = []
    for number, (_, _, words, colour, dash) in enumerate(_LINES):
        x, y = _LEFT + number // 2 * _LEGEND_COLUMN, _HEIGHT - 30 + number % 2 * _LEGEND_ROW
        line = f'<polyline points="{x},{y} {x + 22},{y}" stroke="var({colour})" {_dashed(dash)}/>'
        legend.append(f'{line}<text x="{x + 28}" y="{y + 4}">{html.escape(words)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" role="img" '
        f'aria-label="Quality against cost of single choice and of plans"><style>{_STYLE}</style>'
        f"{''.join(panels)}{''.join(legend)}</svg>\n"
    )


def _panel(name: str, budgets: dict[str, dict[str, float]]) -> str:
    values = [each[key] for each in budgets.values() for key, *_ in _LINES if key in each]
    low, high = min(values), max(values)
    most = max(1.0, *(each[cost] for each in budgets.values() for _, cost, *_ in _LINES if cost in each))
    wide, tall = _PANEL - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(cost: float, quality: float) -> str:
        x = _LEFT + wide * cost / most
        return f"{x:.1f},{_TOP + tall * (1 - (quality - low) / max(high - low, 1e-9)):.1f}"

    parts = [f'<text x="{_LEFT}" y="18" font-weight="600">pool {html.escape(name)}</text>']
    for step in range(5):
        quality = low + (high - low) * step / 4
        y = float(place(0, quality).split(",")[1])
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_PANEL - _RIGHT}" y2="{y}"/>')
        parts.append(f'<text class="small" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{quality:.2f}</text>')
        cost = most * step / 4
        x = float(place(cost, low).split(",")[0])
        parts.append(f'<text class="small" x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{cost:.2g}</text>')
    middle = _LEFT + wide / 2
    parts.append(
        f'<text class="small" x="{middle}" y="{_HEIGHT - _BOTTOM + 32}" text-anchor="middle">'
        "cost, × that of the best single model</text>"
    )
    for key, cost_key, _, colour, dash in _LINES:
        points = sorted((each[cost_key], each[key]) for each in budgets.values() if key in each)
        drawn = " ".join(place(*point) for point in points)
        parts.append(f'<polyline points="{drawn}" stroke="var({colour})" {_dashed(dash)}/>')
    return "".join(parts)


def _dashed(dash: str) -> str:
    return f'stroke-dasharray="{dash}"' if dash else ""

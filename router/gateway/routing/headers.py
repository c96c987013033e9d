"""The `x-route-*` headers of a response."""

from __future__ import annotations

from collections.abc import Sequence

from router.compose.run import Ledger
from router.dispatch import UpstreamResponse
from router.gateway.routing.selection import Selection


def routing_headers(
    selection: Selection | None,
    response: UpstreamResponse | None,
    ledger: Ledger,
    left_out: Sequence[str],
    overhead_ms: float,
    cost_usd: float | None,
) -> dict[str, str]:
    """The headers that describe the routing, where the policy sends them; which fields were left out is always stated.

    `cost_usd` is the cost of a whole response; of one that has only begun, the forecast is stated.
    """
    changed = left_out if response is None else (*left_out, *response.changed)
    headers = {"x-route-dropped": ", ".join(dict.fromkeys(changed))} if changed else {}
    if selection is None or selection.policy.headers == "off":
        return headers
    headers |= ledger.headers()
    headers["x-route-overhead-ms"] = f"{overhead_ms:.3f}"
    if response is not None:
        headers["x-route-card"] = response.card.id
    if selection.routed is not None:
        headers["x-route-policy"] = selection.policy.id
        exploration = selection.routed.decision.exploration
        if exploration is not None and (explored := exploration.explored) is not None:
            # How probably this card was drawn, and which one would have answered.
            headers["x-route-explored"] = f"{exploration.propensities[explored]:.6g}; choice={exploration.choice}"
        if (choice := selection.routed.decision.experiment) is not None:
            headers["x-route-experiment"] = f"{choice.name}/{choice.arm}"
    expected = selection.expected(response.card.id) if response is not None else None
    if expected is not None:
        headers["x-route-quality"] = f"{expected.quality:.3f}"
        if response is not None and not isinstance(response.body, bytes):
            cost_usd = ledger.stated_cost_usd(expected.cost_usd) if ledger.plan else expected.cost_usd
    if cost_usd is not None:
        headers["x-route-cost-usd"] = f"{cost_usd:.6f}"
    return headers

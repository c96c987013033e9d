"""`route evaluate-policy`: what another policy would have been worth on recorded requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores

if TYPE_CHECKING:
    from router.analysis.off_policy.estimators import Estimate
    from router.analysis.off_policy.policy_value import PolicyValue
    from router.decide.policy import Policy
    from router.pipeline import Router

_COLOURS = {"better": "green", "worse": "red"}


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("evaluate-policy")(evaluate_policy)


def evaluate_policy(
    new: Annotated[str, typer.Argument(metavar="NEW", help="Name of a policy, or its file.")],
    since: Annotated[str, typer.Option("--since", help="Only later requests: 30d, or a date (UTC).")] = "30d",
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="POLICY", help="Only requests that this policy decided.", show_default="all"),
    ] = None,
    flags: Annotated[
        str, typer.Option("--flags", "-f", help="Limits and goals that NEW gets beside those of each request.")
    ] = "",
    new_artifact: Annotated[
        Path | None,
        typer.Option("--new-artifact", help="Predictor by which NEW decides.", show_default="that of today"),
    ] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Estimate quality and cost of NEW beside today's policy, from judged answers.

    Every recorded request is decided again by both, from what was stored of it. Its answer counts where it is what the
    policy would have chosen, by one over the logged probability of that. So only a policy that explores (`explore`)
    says what other cards would have answered.
    """
    from router import Router
    from router.analysis.off_policy.from_records import Contender, compare_on_records
    from router.commands.history.savings import read_since
    from router.decide.flags import parse_flags

    start_s = read_since(since)
    router = Router.default(cards, policies, artifact)
    if of is not None:
        router.policies.named(of)
    other = router if new_artifact is None else Router.default(cards, policies, new_artifact)
    contender = Contender(other, _policy(router, new), parse_flags(flags))
    records = stores.read_records(store, records_url)
    if records is None:
        return
    with records:
        value = compare_on_records(records, start_s, contender, Contender(router), of)
    if as_json:
        options.print_json(value)
    else:
        _print(value, contender.policy)


def _policy(router: Router, new: str) -> Policy:
    """The policy of this name, or in this file. Raises ConfigurationError or UnknownModelError."""
    from router.decide.policy import load_policy

    file = Path(new)
    if file.suffix in (".yaml", ".yml") or file.is_file():
        return load_policy(file, router.catalog, router.plans)
    return router.policies.named(new)


def _print(value: PolicyValue, policy: Policy | None) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    out.print(
        f"{value.requests:,} requests, {value.judged:,} judged, {value.explored:,} explored; NEW would send "
        f"{value.changed:,} elsewhere, and {value.supported:,} support the comparison"
    )
    if value.new is not None and value.today is not None:
        shown = table("quality", "NEW", "95 %", "today", "95 %", right=("NEW", "today"))
        for name, label in (
            ("doubly_robust", "doubly robust"),
            ("self_normalised", "IPS, self-normalised"),
            ("ips", "IPS"),
        ):
            of_new, of_today = (getattr(each.quality, name) for each in (value.new, value.today))
            shown.add_row(label, f"{of_new.value:.3f}", _span(of_new), f"{of_today.value:.3f}", _span(of_today))
        shown.add_row(
            "direct (forecasts)", f"{value.new.quality.direct:.3f}", "", f"{value.today.quality.direct:.3f}", ""
        )
        out.print(shown)
        sizes = " and ".join(f"{each.quality.effective:,.0f}" for each in (value.new, value.today))
        out.print(f"effective sample sizes {sizes}; {value.new.quality.deviating} judged answers of explored cards")
    if value.gain is not None:
        gain = value.gain
        out.print(f"difference in quality  {gain.value:+.4f} [{gain.low:+.4f} {gain.high:+.4f}]")
    if value.gain_usd is not None:
        gain = value.gain_usd
        each = (f"{1000 * usd:+.4f}$" for usd in (gain.value, gain.low, gain.high))
        out.print("difference in cost     {} [{} {}] per 1,000 requests".format(*each))
    colour = _COLOURS.get(value.verdict, "yellow")
    out.print(f"[bold {colour}]{value.verdict}[/]")
    for sentence in value.sentences:
        out.print(f"• {escape(sentence)}")
    for reason, count in value.left_out:
        out.print(f"[dim]• left out: {count:,}: {escape(reason)}[/]")
    if policy is not None and policy.exploration is not None:
        out.print("[dim]• NEW is evaluated without its own exploration[/]")


def _span(estimate: Estimate) -> str:
    return f"[{estimate.low:.3f} {estimate.high:.3f}]"

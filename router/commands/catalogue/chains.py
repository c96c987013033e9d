"""`route plans chains`: the best chains of cards that turn one kind of content into another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.cards.catalog import Catalog
    from router.decide.plans.chains import Chained, Link
    from router.pipeline import Router
    from router.types import Forecast

_FEWEST = 2


def register(app: typer.Typer) -> None:
    """Add the command to the group `plans`."""
    app.command("chains")(chains)


def chains(
    kind: Annotated[str, typer.Argument(help="The kind of content that comes with the prompt: image, audio, pdf …")],
    prompt: Annotated[
        str, typer.Argument(help="The text of the request.")
    ] = "Answer the question about what is attached.",
    writes: Annotated[str, typer.Option("--writes", help="What the last card must write.")] = "text",
    top: Annotated[int, typer.Option("--top", min=1, max=50, help="How many chains to list.")] = 5,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the best chain as a plan to this file: plans/NAME.yaml.")
    ] = None,
    policy: options.PolicyName = "default",
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """List the best chains of two or three cards for a kind of content: each reads what the one before it writes.

    The loss of a chain is the sum of `-log(quality)` of its cards and, where the policy states `mistake_usd`, of their
    costs in units of that; an unknown cost counts as nothing. Limits of the policy are not applied. A card that reads
    the content itself needs no chain: compare with `route`.
    """
    from router import ChatRequest, Router
    from router.decide.plans.chains import MOST_STAGES, best_chains, links_of
    from router.learn.solving.save import check_target

    for stated in (kind, writes):
        _check(stated)
    if save is not None:
        check_target(save)
    router = Router.default(cards, policies, artifact)
    applied = router.policies.named(policy)
    _, forecast = router.forecast(ChatRequest.from_prompt(prompt), applied)
    links = links_of(router.catalog, _losses(router, forecast, applied.mistake_usd))
    found = best_chains(links, [kind], [writes], top, (_FEWEST, MOST_STAGES))
    if not found:
        raise CallerError(
            f"no cards turn {kind} into {writes} in {_FEWEST} or {MOST_STAGES} steps: the keys `consumes` and "
            "`produces` of a card state what it converts (docs/model-cards.md)"
        )
    if as_json:
        options.print_json([_figures(chain, router.catalog, forecast) for chain in found])
    else:
        _print(found, router.catalog, forecast)
    if save is not None:
        _save(save, found[0], links, kind, router.catalog)


def _check(kind: str) -> None:
    from typing import get_args

    from router.cards.abilities import Content

    if kind not in get_args(Content):
        known = get_args(Content)
        raise CallerError(f'unknown kind of content "{kind}"{did_you_mean(kind, known)}; known are {", ".join(known)}')


def _losses(router: Router, forecast: Forecast, mistake_usd: float | None) -> dict[str, float]:
    """By card; not of cards without a forecast."""
    losses = {}
    for card, quality, cost_usd in zip(router.catalog, forecast.quality, forecast.cost_usd, strict=True):
        if quality > 0:
            price = 0.0 if mistake_usd is None or math.isnan(cost_usd) else float(cost_usd) / mistake_usd
            losses[card.id] = price - math.log(quality)
    return losses


def _figures(chain: Chained, catalog: Catalog, forecast: Forecast) -> dict[str, object]:
    """The chance that all stages are right, and the cost; None where the cost of a card is unknown."""
    positions = [catalog.ids.index(name) for name in chain.cards]
    cost_usd = float(forecast.cost_usd[positions].sum())
    return {
        "cards": chain.cards,
        "quality": float(forecast.quality[positions].prod()),
        "cost_usd": None if math.isnan(cost_usd) else cost_usd,
        "loss": chain.loss,
    }


def _print(found: Sequence[Chained], catalog: Catalog, forecast: Forecast) -> None:
    from router.commands.render import console, table
    from router.formats.units import show_usd

    shown = table("chain", "quality", "cost", "loss", right=("quality", "cost", "loss"))
    for chain in found:
        figures = _figures(chain, catalog, forecast)
        cost_usd = figures["cost_usd"]
        cost = "?" if not isinstance(cost_usd, float) else show_usd(cost_usd)
        shown.add_row(" → ".join(chain.cards), f"{figures['quality']:.2f}", cost, f"{chain.loss:.3f}")
    console().print(shown)


def _save(file: Path, chain: Chained, links: Sequence[Link], kind: str, catalog: Catalog) -> None:
    from router.decide.plans.chains import as_stages
    from router.decide.plans.spec import Chain
    from router.learn.solving.save import save_plan

    described = f"{' and '.join(chain.cards[:-1])} read the {kind}, and {chain.cards[-1]} answers."
    save_plan(file, Chain(id=file.stem, description=described, stages=as_stages(chain, links, [kind])), catalog)
    typer.echo(f"wrote {file}: use it as the model plan/{file.stem}, or list it under `plans` of a policy")

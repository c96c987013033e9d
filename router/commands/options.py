"""Options that several commands share, and functions that load what they name."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router import settings
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.cards import Catalog
    from router.decide.plans.catalog import Plans
    from router.decide.policy import Policies
    from router.gateway.config.sources import Sources
    from router.perceive.purpose.similar import CardViews


def records_url(value: str | None) -> str | None:
    """The URL that `--records` states. Raises CallerError for what cannot be one, such as the next option."""
    if value is not None and (not value.strip() or value.startswith("-")):
        problem = f'takes the URL of a database, such as postgresql://user@host/database, not "{value}"'
        raise CallerError(f"--records {problem}; `route serve` records without it, unless there is --no-records")
    return value


Cards = Annotated[
    Path | None,
    typer.Option("--cards", help="Folder of model cards.", show_default="./model_cards, else built-in"),
]
PoliciesFolder = Annotated[
    Path | None,
    typer.Option("--policies", help="Folder of policies.", show_default="./policies, else built-in"),
]
PlansFolder = Annotated[
    Path | None,
    typer.Option("--plans-folder", help="Folder of plans.", show_default="./plans, else built-in"),
]
Artifact = Annotated[
    Path | None, typer.Option("--artifact", help="Folder of a trained predictor.", show_default="built-in")
]
Records = Annotated[
    str | None,
    typer.Option(
        "--records",
        help="PostgreSQL database of the records: postgresql://user@host/database.",
        show_default="PULVINAR_RECORDS where there is no --store, else that folder",
        callback=records_url,
    ),
]
Flags = Annotated[str, typer.Option("--flags", "-f", help="Limits and goals, in quotes: 'size<7B,cheapest*0.5,!beta'.")]
PolicyName = Annotated[str, typer.Option("--policy", "-p", help="Policy to apply.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Where the work runs: `local`; `ray`, in parallel on this machine; `ray=ADDRESS`, on a Ray cluster "
        "(extra `scale`).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load_cards(folder: Path | None) -> Catalog:
    """The catalogue in `folder`, or the default one."""
    from router.cards import load_catalog
    from router.cards.machine.speeds import read_speeds

    catalog = load_catalog(folder or settings.default_cards_folder())
    return catalog.with_speeds(read_speeds(settings.default_evidence_folder()))


def card_views(cards: Path | None, artifact: Path | None) -> CardViews:
    """The views of the cards in the folder `cards`, or the default one, with their profiles."""
    from router.loading import load_predictor
    from router.perceive.purpose.profile_file import load_profiles
    from router.perceive.purpose.similar import CardViews

    folder = cards or settings.default_cards_folder()
    predictor = load_predictor(artifact)
    evidence = predictor.evidence_of({}, load_profiles(settings.profiles_folder(folder)))
    means = {card: of.task for card, of in evidence.items() if of.task is not None}
    return CardViews(predictor.purpose_space, load_cards(folder), means)


def load_policy_folder(folder: Path | None) -> Policies:
    """The policies in `folder`, or the default ones."""
    from router.decide.policy import load_policies

    return load_policies(folder or settings.default_policies_folder())


def load_plan_folder(folder: Path | None, catalog: Catalog | None) -> Plans:
    """The plans in `folder`, or the default ones."""
    from router.decide.plans.catalog import load_plans

    return load_plans(folder or settings.default_plans_folder(), catalog)


def load_sources(cards: Path | None, policies: Path | None, gateway: Path | None, keys: Path | None) -> Sources:
    """The files of the gateway's configuration. Raises ConfigurationError for a given file that does not exist."""
    from router.gateway.config.sources import Sources

    for file in (gateway, keys):
        if file is not None and not file.exists():
            raise ConfigurationError(f"{file}: does not exist (see `route gateway schema` and `route keys add`)")
    folder = cards or settings.default_cards_folder()
    return Sources(
        cards=folder,
        profiles=settings.profiles_folder(folder),
        policies=policies or settings.default_policies_folder(),
        plans=settings.default_plans_folder(),
        evidence=settings.default_evidence_folder(),
        gateway=gateway or settings.default_gateway_file(),
        keys=keys or settings.default_keys_file(),
    )


def today() -> datetime.date:
    """The current date in UTC, from which limits on `age` are counted."""
    return datetime.datetime.now(datetime.UTC).date()


def print_json(value: Any) -> None:
    """Print `value` as indented JSON, with null for NaN and infinity."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

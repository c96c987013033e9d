"""`route promote`: whether a card, or an artifact, may take the place of another, by outcomes on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.commands.learning.retraining import artifacts
from router.commands.learning.retraining.from_records import TrustKey
from router.commands.live.shared_state import State, Store
from router.errors import CallerError

if TYPE_CHECKING:
    from router import Router
    from router.analysis.promotion import Budget, Pairs, Promotion
    from router.analysis.route_flips import RouteFlips
    from router.cards import Catalog
    from router.store.records.record import DecisionRecord

_REFUSED = 1
_STORE_FILES = ("records.sqlite", "journal")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("promote")(promote)


def promote(
    new: Annotated[
        str | None,
        typer.Argument(
            help="Card that is to take the place of the other, a column of the set, or folder of an artifact."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="Card, column or artifact whose place it takes.", show_default="artifact: built-in"
        ),
    ] = None,
    on: Annotated[Path | None, typer.Option("--on", help="Folder of a routing data set.")] = None,
    records: Annotated[
        str | None,
        typer.Option("--records", help="A .jsonl file of outcomes, a folder of evidence, or a store of records."),
    ] = None,
    max_negative_flips: Annotated[
        str | None,
        typer.Option(
            "--max-negative-flips", help="Most prompts that may be right before and wrong now, such as 2% or 0.02."
        ),
    ] = None,
    least_change: Annotated[
        str | None,
        typer.Option(
            "--least-change",
            help="What the lower end of the difference's interval must reach: 0% (a gain), -1% (at most 1 % lost).",
        ),
    ] = None,
    right: Annotated[float, typer.Option("--right", min=0, max=1, help="Least score that counts as right.")] = 0.5,
    write: Annotated[
        Path | None, typer.Option("--write", help="Card file of NEW: if it is promoted, set lineage.state there.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option("--aliases", help="JSON file with other names of the columns.")
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="JSON file of list prices, for a set without costs.", show_default="the cards'"),
    ] = None,
    policy: options.PolicyName = "best",
    flags: options.Flags = "",
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Prompts to route with each of the two, evenly spaced; 0 for none.")
    ] = 300,
    random_state: Annotated[int, typer.Option("--random-state", min=0, help="Seed of the bootstrap.")] = 0,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    apply: artifacts.Apply = False,
    rollback: artifacts.Rollback = None,
    since: artifacts.Since = "90d",
    trust_key: TrustKey = None,
    store: Store = None,
    state: State = None,
    as_json: options.Json = False,
) -> None:
    """Compare two cards or artifacts on the same prompts. Exit code 0 if NEW may take the place of OLD, 1 if not."""
    shared = artifacts.Shared(store, state)
    if rollback is not None:
        artifacts.roll_back(rollback, shared)
        return
    if new is None:
        raise CallerError("name the card, or the folder of the artifact, that is to be promoted")
    if artifacts.is_artifact(new):
        share = _budget(max_negative_flips, None).negative_share
        asked = artifacts.Asked(Path(new), against, records, since, share, sample, tuple(trust_key or ()))
        artifacts.promote(asked, cards, policies, shared, is_applied=apply, as_json=as_json)
        return
    if apply:
        raise CallerError(f"--apply is for artifacts, and {new} is no folder of one; a card is promoted with --write")
    if against is None:
        raise CallerError("--against names the card whose place it takes")
    if (on is None) == (records is None):
        raise CallerError("give the outcomes: --on SET, or --records with a .jsonl file, evidence, or a store")
    budget = _budget(max_negative_flips, least_change)
    names, where = (new, against), (on, records, aliases, prices)
    folders, routing = (cards, policies, artifact), (policy, flags, sample)
    _promote_card(names, where, budget, write, folders, routing, right, random_state, as_json=as_json)


def _promote_card(
    names: tuple[str, str],
    where: tuple[Path | None, str | None, Path | None, Path | None],
    budget: Budget,
    write: Path | None,
    folders: tuple[Path | None, Path | None, Path | None],
    routing: tuple[str, str, int],
    right: float,
    random_state: int,
    *,
    as_json: bool,
) -> None:
    from router import Router
    from router.analysis.promotion import compare

    (new, against), (on, records, aliases, prices) = names, where
    (cards, policies, artifact), (policy, flags, sample) = folders, routing
    catalog = options.load_cards(cards)
    new_id, old_id = _id(catalog, new), _id(catalog, against)
    if new_id == old_id:
        raise CallerError(f"{new} and {against} are the same card")
    if write is not None:
        _check_file(write, new_id)
    recorded: list[DecisionRecord] = []
    if on is not None:
        pairs, measured = _of_set(on, catalog, against, new, aliases, prices)
    else:
        assert records is not None
        pairs, measured = _of_records(records, catalog, against, new, recorded, sample), []
    result = compare(old_id, new_id, pairs, budget, right=right, random_state=random_state)
    routed: RouteFlips | str = "not asked for"
    if sample:
        if missing := [name for name in (old_id, new_id) if catalog.position(name) is None]:
            routed = f"there is no card {missing[0]}"
        else:
            router = Router.default(cards, policies, artifact)
            routed = _routed(router, pairs, measured, recorded, (old_id, new_id), policy, flags, sample)
    if write is not None and result.promoted:
        from router.formats.yaml.edit import set_in_mapping

        set_in_mapping(write, "lineage", {"state": "promoted"})
    if as_json:
        options.print_json(_document(result, budget, routed, write))
    else:
        from router.commands.learning.promote_report import print_promotion

        print_promotion(result, budget, routed, write)
    if not result.promoted:
        raise typer.Exit(_REFUSED)


def _id(catalog: Catalog, name: str) -> str:
    """The id of the card with this name; the name itself where there is none, which may be a column of the set."""
    position = catalog.position(name)
    return name if position is None else catalog.ids[position]


def _budget(negative: str | None, least: str | None) -> Budget:
    from router.analysis.promotion import Budget
    from router.formats import units

    def share(option: str, text: str | None) -> float | None:
        if text is None:
            return None
        sign = -1 if text.strip().startswith("-") and option == "--least-change" else 1
        try:
            return sign * units.fraction(text.strip().removeprefix("-" if sign < 0 else "+"))
        except ValueError as error:
            raise CallerError(f"{option}: {error}") from None

    return Budget(share("--max-negative-flips", negative), share("--least-change", least))


def _check_file(file: Path, card: str) -> None:
    """Raise where `file` is not that of the card, before anything takes time."""
    from router.cards.schema import Card
    from router.formats.yaml.file import load

    found, _ = load(file, Card, "a card (keys and values)")
    if found.id != card:
        raise CallerError(f"--write: {file} is the card {found.id}, not {card}")


def _of_set(
    folder: Path, catalog: Catalog, old: str, new: str, aliases: Path | None, prices: Path | None
) -> tuple[Pairs, list[Mapping[str, float]]]:
    """The pairs of a data set, and what each card scored on each of their prompts, by its id."""
    import numpy as np

    from router.analysis.paired_outcomes import find, pairs_of_set
    from router.dispatch.costs import price_of
    from router.learn.data import load_set
    from router.learn.data.list_prices import Price, costs_of, read_prices
    from router.learn.data.routing_set import read_aliases
    from router.loading import load_encoder
    from router.settings import STATIC_ENCODER

    data = load_set(folder, None if aliases is None else read_aliases(aliases))
    names = [find(name, catalog, data.models, data.name) for name in (old, new)]
    if names[0] == names[1]:
        raise CallerError(f"{data.name} has one column for {old} and {new}: {names[0]}")
    both = data.columns(names)
    stated = {} if prices is None else read_prices(prices)
    if prices is None:
        for name, column in zip((old, new), names, strict=True):
            position = catalog.position(name)
            price = None if position is None else price_of(catalog[position])
            if price is not None:
                stated[column] = Price(price.input_usd, price.output_usd)
    cost_usd, _ = costs_of(both, load_encoder(STATIC_ENCODER), stated)
    pairs = pairs_of_set(both, names[0], names[1], cost_usd, folder)
    ids = [_id(catalog, model) for model in data.models]
    rows = np.flatnonzero(np.isfinite(both.scores).all(axis=1))
    measured: list[Mapping[str, float]] = [
        {card: float(score) for card, score in zip(ids, data.scores[row], strict=True) if score == score}  # noqa: PLR0124
        for row in rows
    ]
    return pairs, measured


def _of_records(where: str, catalog: Catalog, old: str, new: str, recorded: list[DecisionRecord], sample: int) -> Pairs:
    """The pairs in a file, a folder of evidence or a store, of which `recorded` receives `sample` decisions."""
    from router import settings
    from router.analysis import paired_outcomes as paired
    from router.store import open_store
    from router.store.records.postgres.address import without_password
    from router.store.records.protocol import Filter

    path = Path(where)
    if path.is_file():
        return paired.pairs_of_lines(path, old, new, catalog)
    if path.is_dir() and not any((path / name).exists() for name in _STORE_FILES) and any(path.glob("*.jsonl")):
        return paired.pairs_of_evidence(path, old, new, catalog)
    if path.suffix in (".jsonl", ".gz"):
        raise CallerError(f"--records: {path} does not exist")
    shown = without_password(where)
    is_url = where.startswith(("postgresql://", "postgres://"))
    store = (open_store(settings.default_store(), records=where) if is_url else open_store(where)).read_records()
    if store is None or not store.last_number():
        raise CallerError(f"--records: {shown} is no file of outcomes, no folder of evidence and no store with records")
    routed = Filter(routed=True)
    with store:
        pairs = paired.pairs_of_records(store.scan(routed), shown, old, new, catalog)
        # Read again rather than kept: a store may have millions of decisions.
        rows = _spaced(sum(1 for _ in store.scan(routed)), sample)
        decisions = (record.decision for row, record in enumerate(store.scan(routed)) if row in rows)
        recorded += [decision for decision in decisions if decision is not None]
    return pairs


def _spaced(count: int, sample: int) -> set[int]:
    """At most `sample` of the positions below `count`, evenly spaced."""
    import numpy as np

    return set(np.unique(np.linspace(0, count - 1, min(sample, count)).astype(int)).tolist()) if count else set()


def _routed(
    router: Router,
    pairs: Pairs,
    measured: list[Mapping[str, float]],
    recorded: list[DecisionRecord],
    ids: tuple[str, str],
    policy: str,
    flags: str,
    sample: int,
) -> RouteFlips | str:
    """The decisions about a sample of the prompts; a text that says why where there are none."""
    from router.analysis import route_flips
    from router.wire.chat.request import ChatRequest

    count = len(recorded) or len(pairs.turns)
    if not count:
        return "the prompts are not known"
    router = route_flips.with_candidate(router, ids[1])
    applied, today = router.policies.named(policy), options.today()
    rows = range(count) if recorded else sorted(_spaced(count, sample))
    if recorded:
        decisions = route_flips.of_records(router, applied, recorded, flags, today)
    else:
        requests = (
            ChatRequest.from_body({"messages": [{"role": "user", "content": turn} for turn in pairs.turns[row]]})
            for row in rows
        )
        decisions = route_flips.of_requests(router, requests, flags, today)
    scores = [measured[row] for row in rows] if measured else [{} for _ in rows]
    return route_flips.route_flips(decisions, scores, router.catalog, applied, *ids)


def _document(result: Promotion, budget: Budget, routed: RouteFlips | str, write: Path | None) -> dict[str, Any]:
    import msgspec

    fields = msgspec.to_builtins(result)
    is_counted = not isinstance(routed, str)
    return {
        "promoted": result.promoted,
        "budget": budget,
        **fields,
        "route": {**msgspec.to_builtins(routed), "flips": routed.flips, "share": routed.share}
        if not isinstance(routed, str)
        else None,
        "route_unknown": None if is_counted else routed,
        "written": None if write is None or not result.promoted else str(write),
    }

"""The gate of plans that `route train --plans` fits and stores beside the predictor."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from msgspec import Struct

from router import settings
from router.commands import options
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.cards.catalog import Catalog
    from router.compose.learned import GateFile
    from router.learn.engine import Engine

_GATE_FOLDS = 5
_LEAST_ANSWERED = 200


class Asked(Struct, frozen=True):
    """What a gate is fitted on: data sets, of whose prompts those in `ids` (None: all), and other names of their models
    (`aliases`); the encoder's name, and the option that asks for the gate.
    """

    sets: Sequence[Path]
    encoder: str
    option: str
    ids: Collection[str] | None = None
    aliases: Mapping[str, str] | None = None


def fit_gate(asked: Asked, catalog: Catalog, plans_folder: Path | None, engine: Engine) -> GateFile:
    """The gate from those of the sets that have answers, and those of plans. Raises CallerError where none has."""
    from router.decide.plans.shape import measurable
    from router.dispatch.costs import price_of
    from router.learn.data.answers import has_answers, load_answers
    from router.learn.data.vectors import vectors_of
    from router.learn.evaluation.splits import fold_of_each, k_folds
    from router.learn.plans.fit import TokenPrices, Training, fit_gate_file
    from router.loading import load_encoder

    with_answers = [folder for folder in asked.sets if has_answers(folder)]
    if not with_answers:
        raise CallerError(f"{asked.option} needs a set with the answers of its models: answers.csv (docs/data-sets.md)")
    loaded = load_encoder(asked.encoder)
    training = []
    for folder in with_answers:
        data = load_answers(folder, priced=False, aliases=asked.aliases, ids=asked.ids)
        vectors = vectors_of(data.prompts, loaded, settings.cache_folder() / "features", engine)
        if len(data.prompts) < _LEAST_ANSWERED:
            raise CallerError(
                f"{folder}: {asked.option} needs {_LEAST_ANSWERED} prompts with answers, got {len(data.prompts)}"
            )
        folds = fold_of_each(k_folds(data.outcomes, _GATE_FOLDS, 0), len(data.prompts))
        training.append(Training(data, vectors, folds))
    command = ["route", "train", *(folder.name for folder in with_answers), "--encoder", asked.encoder, asked.option]
    models = {model for each in training for model in each.data.models}
    positions = {model: catalog.position(model) for model in models}
    names = {model: catalog.ids[position] for model, position in positions.items() if position is not None}
    plans = options.load_plan_folder(plans_folder, catalog)
    priced = ((card.id, price_of(card)) for card in catalog)
    prices = {
        name: TokenPrices(float(price.input_usd), float(price.output_usd))
        for name, price in priced
        if price is not None
    }
    return fit_gate_file(training, shlex.join(command), measurable(plans.values(), catalog), names, prices)


def save_and_print(out: Path, gate: GateFile, as_json: bool) -> None:
    """Write the gate into the artifact in `out`, and print what it is."""
    from router.compose.learned import save_gate

    try:
        save_gate(out, gate)
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None
    if as_json:
        own = [rule.members for rule in gate.committees]
        options.print_json(
            {
                "gate": gate.id,
                "out": str(out),
                "closed_forms": gate.closed_forms,
                "committees": own,
                "columns": gate.columns,
            }
        )
    else:
        prompts = sum(source.prompts for source in gate.data_sets)
        typer.echo(f"{out}: gate {gate.id}, from the answers to {prompts} prompts")
        for rule in gate.committees:
            typer.echo(f"a gate of its own: {', '.join(rule.members)}")
        for column in gate.columns:
            least = "" if column.threshold is None else f", accepted from {column.threshold:g}"
            typer.echo(f"a column: {column.kind} of {', '.join(column.members)}{least} (± {column.error:.3f})")

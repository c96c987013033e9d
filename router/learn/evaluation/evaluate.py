"""Cross-validated evaluation of the predictor on one data set, with baselines on the same folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from msgspec import Struct
from sklearn.decomposition import PCA

from router.cards.facts import ModelFacts
from router.errors import CallerError, did_you_mean
from router.formats.text import shortened
from router.learn.data import RoutingSet
from router.learn.data.list_prices import Price, costs_of
from router.learn.data.vectors import vectors_of
from router.learn.engine import LOCAL, Engine
from router.learn.evaluation.bootstrap import compare
from router.learn.evaluation.calibration import coverage, reliability
from router.learn.evaluation.cold_start import full_outcomes, leave_models_out, strategies
from router.learn.evaluation.methods import Baselines, Methods
from router.learn.evaluation.metrics import best_single, choices, mean_scores, single_scores
from router.learn.evaluation.ood import Novelty, UnknownPrompts, compare_novelty
from router.learn.evaluation.report import Domain, PromptMap, Report, rounded
from router.learn.evaluation.splits import Split, k_folds, leave_domain_out, transfer
from router.learn.evaluation.verdicts import bottom_line, verdicts
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats

_MAP_PROMPTS = 600
_FEW_PROMPTS = 500


class EvaluationSettings(Struct, frozen=True):
    """How to evaluate.

    `by` leaves one "domain" or one "model" out at a time, in place of `folds` random folds. `baselines` is "none",
    "quick" or "all". `pair` names a strong and a weak model. `draws` is the number of bootstrap resamples behind the
    intervals; with 0 there are none. `ablations` and `prompt_map` add these parts to the report.
    """

    folds: int = 5
    by: str | None = None
    baselines: str = "quick"
    pair: tuple[str, str] | None = None
    ablations: bool = False
    draws: int = 500
    prompt_map: bool = False
    random_state: int = 0


def evaluate(
    data: RoutingSet,
    encoder: Encoder,
    settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008 - frozen
    *,
    test: RoutingSet | None = None,
    baseline_encoder: Callable[[], Encoder] | None = None,
    cache: Path | None = None,
    prices: Mapping[str, Price] | None = None,
    unknown: UnknownPrompts | None = None,
    facts: Mapping[str, ModelFacts] | None = None,
    engine: Engine = LOCAL,
) -> Report:
    """Evaluate the predictor on `data` by cross-validation, or train on `data` and test on the set `test`.

    A prompt is never forecast from its duplicates. `baseline_encoder` creates the encoder of the baselines on sentence
    embeddings; where its extra is missing, they are listed as skipped. `cache` is a folder for embeddings. `prices`
    are used where the set records no costs. `unknown` are prompts to detect as out of domain; `facts` are the
    published facts of models, for `by="model"`. The `engine` fits the folds and leaves the models out.

    Raises CallerError for settings that do not fit the data.
    """
    _check(settings, test)
    data = with_outcomes(data)
    if test is None:
        protocol, splits = _protocol(data, settings)
    else:
        names = f"trained on {data.name}, tested on {test.name}"
        data, split = transfer(data, with_outcomes(test))
        protocol, splits = f"{names} ({len(data.models)} shared models)", (split,)
    pair = _pair_columns(data, settings.pair)
    vectors = vectors_of(data.prompts, encoder, engine=engine)
    novelty = () if unknown is None else compare_novelty(data, vectors, unknown, encoder, settings.random_state)
    if settings.by == "model":
        return _cold_start_report(data, encoder, vectors, novelty, facts or {}, settings.random_state, engine)
    costs, cost_source = costs_of(data, encoder, prices)
    methods = Methods(data, encoder, vectors, costs, splits, settings.random_state, engine)
    ablations = methods.ablations() if settings.ablations else []
    baselines, skipped = methods.baselines(settings.baselines, baseline_encoder, cache)
    ours, *others = methods.fitted([methods.ours(), *ablations, *baselines])
    if costs is None:
        skipped.append(f"cheapest, AIQ and cost@: {cost_source}")
    rows, tested = data.rows(methods.tested), methods.tested
    scores = methods.scores[tested]
    lines = compare(
        [ours, *others, *methods.constants(pair)],
        scores,
        None if costs is None else costs[tested],
        pair=pair,
        folds=methods.folds[tested],
        draws=settings.draws,
        random_state=settings.random_state,
    )
    forecasts = np.asarray(ours.values, dtype=np.float64)
    compared = np.asarray(ours.choice_values, dtype=np.float64)
    embeddings = vectors[tested][:, : encoder.dimensions]
    return rounded(
        Report(
            data_set=rows.name,
            prompts=len(tested),
            models=len(data.models),
            protocol=protocol,
            encoder=encoder.name,
            best_single=data.models[best_single(scores)],
            best_single_quality=float(single_scores(scores).mean()),
            oracle_quality=float(np.nanmax(scores, axis=1).mean()),
            methods=lines,
            skipped=tuple(skipped),
            model_names=data.models,
            costs=cost_source,
            pair=settings.pair,
            draws=settings.draws,
            random_state=settings.random_state,
            verdicts=verdicts(lines),
            bottom_line=bottom_line(
                scores,
                compared,
                None if costs is None else costs[tested],
                methods.folds[tested],
                data.models,
                rows.domains,
            ),
            calibration=reliability(scores, forecasts),
            coverage=coverage(scores, forecasts, methods.std[tested], rows.domains),
            domains=_domains(rows, scores, forecasts, compared),
            novelty=novelty,
            map=_prompt_map(rows.domains, embeddings, settings.random_state) if settings.prompt_map else None,
            notes=tuple(_notes(rows, scores)),
        )
    )


def _check(settings: EvaluationSettings, test: RoutingSet | None) -> None:
    if settings.baselines not in get_args(Baselines):
        raise CallerError(f'--baselines takes none, quick or all, got "{settings.baselines}"')
    if settings.by not in (None, "domain", "model"):
        raise CallerError(f'--by takes "domain" or "model", got "{settings.by}"')
    if settings.by is not None and test is not None:
        raise CallerError("--by and --test are two protocols; give one of them")


def with_outcomes(data: RoutingSet) -> RoutingSet:
    """The set without prompts on which no model was run: no method can be right or wrong there.

    Raises CallerError where no prompt is left.
    """
    rows = np.flatnonzero(np.isfinite(data.scores).any(axis=1))
    if not len(rows):
        raise CallerError(f"{data.name} has no outcomes; every cell of the score table is empty")
    return data.rows(rows)


def _protocol(data: RoutingSet, settings: EvaluationSettings) -> tuple[str, tuple[Split, ...]]:
    """The splits, and their description for the report."""
    if settings.by == "domain":
        splits = tuple(leave_domain_out(data))
        domains = len(set(data.domains))
        grouped = f"{domains} domains in {len(splits)} folds" if domains > len(splits) else f"{domains} folds"
        return f"leave one domain out ({grouped})", splits
    return f"{settings.folds} folds", tuple(k_folds(data, settings.folds, settings.random_state))


def _pair_columns(data: RoutingSet, pair: tuple[str, str] | None) -> tuple[int, int] | None:
    if pair is None:
        return None
    for model in pair:
        if model not in data.models:
            raise CallerError(f'--pair: {data.name} has no model "{model}"{did_you_mean(model, data.models)}')
    if pair[0] == pair[1]:
        raise CallerError(f"--pair takes two different models, got {pair[0]} twice")
    return data.models.index(pair[0]), data.models.index(pair[1])


def _cold_start_report(
    data: RoutingSet,
    encoder: Encoder,
    vectors: Floats,
    novelty: tuple[Novelty, ...],
    facts: Mapping[str, ModelFacts],
    random_state: int,
    engine: Engine,
) -> Report:
    scores = np.asarray(data.scores, dtype=np.float64)
    lines = leave_models_out(
        data,
        vectors,
        strategies(encoder, facts, random_state),
        full_outcomes(encoder),
        random_state=random_state,
        engine=engine,
    )
    return rounded(
        Report(
            data_set=data.name,
            prompts=len(data.prompts),
            models=len(data.models),
            protocol="leave one model out (one prompt in five tested)",
            encoder=encoder.name,
            best_single=data.models[best_single(scores)],
            best_single_quality=float(single_scores(scores).mean()),
            oracle_quality=float(np.nanmax(scores, axis=1).mean()),
            methods=(),
            model_names=data.models,
            random_state=random_state,
            left_out=lines,
            novelty=novelty,
        )
    )


def _domains(data: RoutingSet, scores: Doubles, forecasts: Doubles, compared: Doubles) -> tuple[Domain, ...]:
    names = np.array(data.domains)
    chosen = choices(scores, compared)
    lines = []
    for name in np.unique(names):
        inside = names == name
        means = mean_scores(scores[inside])
        counts = np.bincount(chosen[inside], minlength=len(data.models))
        lines.append(
            Domain(
                str(name),
                int(inside.sum()),
                tuple(None if np.isnan(mean) else float(mean) for mean in means),
                tuple(float(mean) for mean in forecasts[inside].mean(axis=0)),
                tuple(float(count) for count in counts / inside.sum()),
            )
        )
    return tuple(lines)


def _prompt_map(domains: Sequence[str], embeddings: Floats, random_state: int) -> PromptMap | None:
    if len(embeddings) < 3:
        return None
    rows = np.sort(np.random.default_rng(random_state).permutation(len(embeddings))[:_MAP_PROMPTS])
    points = PCA(2, svd_solver="covariance_eigh").fit(embeddings).transform(embeddings[rows])
    return PromptMap(
        tuple(float(x) for x in points[:, 0]),
        tuple(float(y) for y in points[:, 1]),
        tuple(domains[row] for row in rows),
    )


def _notes(data: RoutingSet, scores: Doubles) -> list[str]:
    notes = []
    if len(data.prompts) < _FEW_PROMPTS:
        notes.append(f"only {len(data.prompts)} prompts: intervals are wide, and folds differ much")
    if not_run := [name for name, column in zip(data.models, scores.T, strict=True) if np.isnan(column).all()]:
        notes.append(f"{len(not_run)} models have no outcomes: {shortened(not_run)}")
    if missing := float(np.isnan(scores).mean()):
        notes.append(f"{missing:.1%} of the outcomes are missing; a method chooses only among models that were run")
    if len(set(data.domains)) == 1:
        notes.append("one domain: best per domain is best single")
    return notes

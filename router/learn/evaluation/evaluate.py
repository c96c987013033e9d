"""An honest report of a predictor on one data set, with baselines on the same folds beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.decomposition import PCA

from router.cards.facts import ModelFacts
from router.errors import CallerError, did_you_mean
from router.learn.data import RoutingSet
from router.learn.data.list_prices import Price, costs_of
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.bootstrap import best_of, compare
from router.learn.evaluation.calibration import Coverage, Reliability, coverage, reliability
from router.learn.evaluation.cold_start import full_outcomes, strategies
from router.learn.evaluation.methods import HINDSIGHT, SHUFFLED, Baselines, Methods
from router.learn.evaluation.metrics import Quality, best_single, choices, mean_scores, single_scores
from router.learn.evaluation.ood import Novelty, Unknown, compare_novelty
from router.learn.evaluation.splits import LeftOut, Split, k_folds, leave_domain_out, leave_models_out, transfer
from router.perceive.encoder import Encoder
from router.types import Doubles, Floats

REPORT_VERSION = 1

_MAP_PROMPTS = 600
_DECIMALS = 6


class Domain(Struct, frozen=True):
    """One domain of the tested prompts: for each model its mean score (None where it was not run), our mean forecast
    and the share of prompts on which ours chooses it.
    """

    name: str
    prompts: int
    scores: tuple[float | None, ...]
    forecasts: tuple[float, ...]
    chosen: tuple[float, ...]


class Verdict(Struct, frozen=True):
    """Ours against another method by one figure: `difference` is ours minus theirs, with a 95 % interval.

    `result` is "level" where the interval holds 0. For the shuffled control it says whether it gains: there
    `ours` is the control's share of the room above the best single model, and `theirs` 0.
    """

    figure: str
    against: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    result: Literal["better", "level", "worse", "gains nothing", "gains"]

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        interval = f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        if self.against == SHUFFLED:
            return f"taught shuffled labels, ours {self.result}: captured {interval}"
        figure = {"auc": "AUC", "aiq": "AIQ"}.get(self.figure, self.figure)
        rank = "" if self.against == HINDSIGHT else "the best baseline, "
        words = {"better": "better than", "level": "level with", "worse": "worse than"}[self.result]
        values = f"{self.ours:.4f} against {self.theirs:.4f}, {interval}"
        return f"{figure}: {words} {rank}{self.against}: {values}"


class PromptMap(Struct, frozen=True):
    """Some of the prompts on the first two principal components of their embeddings."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    domains: tuple[str, ...]


class Report(Struct, frozen=True, omit_defaults=False):
    """What `route eval` prints, and what a trained artifact keeps.

    `version` counts changes of this layout. `skipped` names methods that were not run, and why. `costs` says
    where costs are from. `models` counts columns, `model_names` lists them in the order of `domains`. With
    `--by model` there is `left_out` and no `methods`. `pair` is (strong, weak). `notes` are caveats of this
    very run. There are no times and no dates in it, so the same inputs give the same report.
    """

    data_set: str
    prompts: int
    models: int
    protocol: str
    encoder: str
    best_single: str
    best_single_quality: float
    oracle_quality: float
    methods: tuple[Quality, ...]
    skipped: tuple[str, ...] = ()
    version: int = REPORT_VERSION
    model_names: tuple[str, ...] = ()
    costs: str = ""
    pair: tuple[str, str] | None = None
    draws: int = 0
    random_state: int = 0
    verdicts: tuple[Verdict, ...] = ()
    calibration: tuple[Reliability, ...] = ()
    coverage: Coverage | None = None
    domains: tuple[Domain, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    novelty: tuple[Novelty, ...] = ()
    map: PromptMap | None = None
    notes: tuple[str, ...] = ()


def evaluate(
    data: RoutingSet,
    encoder: Encoder,
    *,
    folds: int = 5,
    by: str | None = None,
    test: RoutingSet | None = None,
    baselines: str = "quick",
    baseline_encoder: Callable[[], Encoder] | None = None,
    cache: Path | None = None,
    prices: Mapping[str, Price] | None = None,
    pair: tuple[str, str] | None = None,
    unknown: Unknown | None = None,
    facts: Mapping[str, ModelFacts] | None = None,
    ablations: bool = False,
    draws: int = 500,
    prompt_map: bool = False,
    random_state: int = 0,
) -> Report:
    """Cross-validate on `data`: `folds` random folds; or leave one "domain" or "model" out (`by`); or learn from `data`
    and forecast `test`.

    A prompt is never forecast from its own copies. `baseline_encoder` makes the encoder of the baselines on
    sentence embeddings; where its extra is missing they are named under `skipped`. `pair` names a strong and
    a weak model; `facts` are what is published of models, for `by="model"`. `draws` bootstrap resamples give the
    intervals; 0 gives none.
    """
    if baselines not in get_args(Baselines):
        raise CallerError(f'--baselines takes none, quick or all, got "{baselines}"')
    if by not in (None, "domain", "model"):
        raise CallerError(f'--by takes "domain" or "model", got "{by}"')
    if by is not None and test is not None:
        raise CallerError("--by and --test are two protocols; give one of them")
    data = _with_outcomes(data)
    if test is None:
        protocol, splits = _splits(data, folds, by, random_state)
    else:
        named = f"trained on {data.name}, tested on {test.name}"
        data, split = transfer(data, _with_outcomes(test))
        protocol, splits = f"{named} ({len(data.models)} shared models)", (split,)
    pair_columns = _pair(data, pair)
    vectors = vectors_of(data.prompts, encoder)
    novelty = () if unknown is None else compare_novelty(data, vectors, unknown, encoder, random_state)
    if by == "model":
        return _models_left_out(data, encoder, vectors, novelty, facts or {}, random_state)
    tested = np.sort(np.concatenate([split.test for split in splits]))
    costs, source = costs_of(data, encoder, prices)
    methods = Methods(data, encoder, vectors, costs, splits, tested, random_state)
    contenders = [methods.ours()]
    if ablations:
        contenders += methods.ablations()
    skipped = methods.add_baselines(contenders, baselines, baseline_encoder, cache)
    contenders += methods.constants(pair_columns)
    if costs is None:
        skipped.append(f"cheapest, AIQ and cost@: {source}")
    scores = methods.scores[tested]
    lines = compare(
        contenders,
        scores,
        None if costs is None else costs[tested],
        pair=pair_columns,
        folds=methods.folds[tested],
        draws=draws,
        random_state=random_state,
    )
    single = best_single(scores)
    ours = np.asarray(contenders[0].values, dtype=np.float64)
    rows = data.rows(tested)
    assert methods.std is not None, "ours has run"
    return _rounded(
        Report(
            data_set=rows.name,
            prompts=len(tested),
            models=len(data.models),
            protocol=protocol,
            encoder=encoder.name,
            best_single=data.models[single],
            best_single_quality=float(single_scores(scores).mean()),
            oracle_quality=float(np.nanmax(scores, axis=1).mean()),
            methods=lines,
            skipped=tuple(skipped),
            model_names=data.models,
            costs=source,
            pair=pair,
            draws=draws,
            random_state=random_state,
            verdicts=verdicts(lines),
            calibration=reliability(scores, ours),
            coverage=coverage(scores, ours, methods.std[tested], rows.domains),
            domains=_domains(rows, scores, ours),
            novelty=novelty,
            map=_prompt_map(rows, vectors[tested][:, : encoder.dimensions], random_state) if prompt_map else None,
            notes=tuple(_notes(rows, scores)),
        )
    )


def verdicts(lines: Sequence[Quality]) -> tuple[Verdict, ...]:
    """Ours against the best trained baseline by each figure, against the best single model, and the control.

    The best baseline is chosen in hindsight, by the very figure, which favours it.
    """
    ours, *others = lines
    found: list[Verdict] = []
    baselines = [line for line in others if line.trained]
    for figure in ("auc", "quality", "aiq"):
        best = best_of(baselines, figure)
        if best is not None and (made := _verdict(ours, best, figure)) is not None:
            found.append(made)
    for line in others:
        if line.method == HINDSIGHT and (made := _verdict(ours, line, "quality")) is not None:
            found.append(made)
        if line.method == SHUFFLED and line.captured is not None and "captured" in line.intervals:
            low, high = line.intervals["captured"]
            result: Literal["gains", "gains nothing"] = "gains" if low > 0 else "gains nothing"
            found.append(Verdict("captured", SHUFFLED, line.captured, 0.0, line.captured, low, high, result))
    return tuple(found)


def _with_outcomes(data: RoutingSet) -> RoutingSet:
    """Without the prompts on which no model was run: no method can be right or wrong there."""
    rows = np.flatnonzero(np.isfinite(data.scores).any(axis=1))
    if not len(rows):
        raise CallerError(f"{data.name} has no outcomes; every cell of the score table is empty")
    return data.rows(rows)


def _splits(data: RoutingSet, folds: int, by: str | None, random_state: int) -> tuple[str, tuple[Split, ...]]:
    if by == "domain":
        splits = tuple(leave_domain_out(data))
        domains = len(set(data.domains))
        grouped = f"{domains} domains in {len(splits)} folds" if domains > len(splits) else f"{domains} folds"
        return f"leave one domain out ({grouped})", splits
    return f"{folds} folds", tuple(k_folds(data, folds, random_state))


def _pair(data: RoutingSet, pair: tuple[str, str] | None) -> tuple[int, int] | None:
    if pair is None:
        return None
    for model in pair:
        if model not in data.models:
            raise CallerError(f'--pair: {data.name} has no model "{model}"{did_you_mean(model, data.models)}')
    if pair[0] == pair[1]:
        raise CallerError(f"--pair takes two different models, got {pair[0]} twice")
    return data.models.index(pair[0]), data.models.index(pair[1])


def _models_left_out(
    data: RoutingSet,
    encoder: Encoder,
    vectors: Floats,
    novelty: tuple[Novelty, ...],
    facts: Mapping[str, ModelFacts],
    random_state: int,
) -> Report:
    scores = np.asarray(data.scores, dtype=np.float64)
    single = best_single(scores)
    lines = leave_models_out(
        data, vectors, strategies(encoder, facts, random_state), full_outcomes(encoder), random_state=random_state
    )
    return _rounded(
        Report(
            data_set=data.name,
            prompts=len(data.prompts),
            models=len(data.models),
            protocol="leave one model out (one prompt in five tested)",
            encoder=encoder.name,
            best_single=data.models[single],
            best_single_quality=float(single_scores(scores).mean()),
            oracle_quality=float(np.nanmax(scores, axis=1).mean()),
            methods=(),
            model_names=data.models,
            random_state=random_state,
            left_out=lines,
            novelty=novelty,
        )
    )


def _verdict(ours: Quality, theirs: Quality, figure: str) -> Verdict | None:
    apart = theirs.minus_ours.get(figure)
    if apart is None:
        return None
    result: Literal["better", "level", "worse"] = "level"
    if apart.high < 0:
        result = "better"
    elif apart.low > 0:
        result = "worse"
    own, other = float(getattr(ours, figure)), float(getattr(theirs, figure))
    difference, low, high = (0.0 - value for value in (apart.value, apart.high, apart.low))
    return Verdict(figure, theirs.method, own, other, difference, low, high, result)


def _domains(data: RoutingSet, scores: Doubles, expected: Doubles) -> tuple[Domain, ...]:
    names = np.array(data.domains)
    chosen = choices(scores, expected)
    lines = []
    for name in np.unique(names):
        own = names == name
        means = mean_scores(scores[own])
        counts = np.bincount(chosen[own], minlength=len(data.models))
        lines.append(
            Domain(
                str(name),
                int(own.sum()),
                tuple(None if np.isnan(mean) else float(mean) for mean in means),
                tuple(float(mean) for mean in expected[own].mean(axis=0)),
                tuple(float(count) for count in counts / own.sum()),
            )
        )
    return tuple(lines)


def _prompt_map(data: RoutingSet, embeddings: Floats, random_state: int) -> PromptMap | None:
    if len(embeddings) < 3:
        return None
    rows = np.sort(np.random.default_rng(random_state).permutation(len(embeddings))[:_MAP_PROMPTS])
    placed = PCA(2, svd_solver="covariance_eigh").fit(embeddings).transform(embeddings[rows])
    return PromptMap(
        tuple(float(x) for x in placed[:, 0]),
        tuple(float(y) for y in placed[:, 1]),
        tuple(data.prompts[row].domain for row in rows),
    )


def _notes(data: RoutingSet, scores: Doubles) -> list[str]:
    notes = []
    if len(data.prompts) < 500:
        notes.append(f"only {len(data.prompts)} prompts: intervals are wide, and folds differ much")
    if never := [name for name, column in zip(data.models, scores.T, strict=True) if np.isnan(column).all()]:
        shown = ", ".join(never[:5]) + (" …" if len(never) > 5 else "")
        notes.append(f"{len(never)} models have no outcome here: {shown}")
    if holes := float(np.isnan(scores).mean()):
        notes.append(f"{holes:.1%} of the outcomes are missing; a method chooses only among models that were run")
    if len(set(data.domains)) == 1:
        notes.append("one domain: best per domain is best single")
    return notes


def _rounded(report: Report) -> Report:
    """Six decimals, so that the last bits of a sum do not change a stored report."""

    def settle(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, _DECIMALS) + 0.0
        if isinstance(value, dict):
            return {key: settle(each) for key, each in value.items()}
        return [settle(each) for each in value] if isinstance(value, list | tuple) else value

    return msgspec.convert(settle(msgspec.to_builtins(report)), Report)

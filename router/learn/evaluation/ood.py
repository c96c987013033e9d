"""Detection of out-of-domain prompts: comparison of out-of-distribution scores.

AUROC: the probability that an unknown prompt has a greater score than a known one (ties count half). FPR@95: the share
of unknown prompts classified as known at the threshold that classifies 95 % of the known ones as known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from router.errors import CallerError, ConfigurationError, FileError
from router.formats.json import encodable
from router.learn.data import Prompt, RoutingSet, read_prompts
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.metrics import mean_auc
from router.learn.evaluation.splits import duplicate_groups, normalized_question
from router.learn.training.train import fit
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices

_NEIGHBOURS = 10
_NEIGHBOUR_BATCH = 512
_MAX_PROMPTS = 4_000
_OUT_OF_SCOPE = "oos"


class Novelty(Struct, frozen=True):
    """One score on one pair of prompt sets; by chance `auroc` is 0.5 and `fpr_95` is 0.95."""

    method: str
    known: str
    unknown: str
    known_prompts: int
    unknown_prompts: int
    auroc: float
    fpr_95: float


class UnknownPrompts(Struct, frozen=True, eq=False):
    """Prompts to detect as out of domain. `scope` are the prompts that the same file marks as in scope; with it, these
    two are compared as well.
    """

    name: str
    prompts: tuple[Prompt, ...]
    scope: tuple[Prompt, ...] = ()


def read_unknown(path: Path) -> UnknownPrompts:
    """Read a routing set, a `.jsonl[.gz]` file of prompts, or CLINC150 (`data_full.json`, or the folder with it).

    Prompts whose domain is `oos` are out of scope; in a file with such prompts, the others are in scope.
    """
    inside = path / "data_full.json"
    file = inside if inside.is_file() else path
    if file.suffix == ".json":
        return _clinc(file)
    if path.is_dir():
        file = next((path / name for name in ("prompts.jsonl", "prompts.jsonl.gz") if (path / name).is_file()), path)
    if not file.is_file():
        raise ConfigurationError(f"{path}: expected a folder with prompts.jsonl or data_full.json, or such a file")
    prompts = read_prompts(file)
    return _by_scope(path.name, prompts)


def compare_novelty(
    data: RoutingSet, vectors: Floats, unknown: UnknownPrompts, encoder: Encoder, random_state: int = 0
) -> tuple[Novelty, ...]:
    """Compare held-out prompts of `data` with the unknown ones, and prompts in the file's scope with those outside."""
    known_questions = {normalized_question(prompt.turns) for prompt in data.prompts}
    every_prompt = (*unknown.prompts, *unknown.scope)
    new = tuple(prompt for prompt in every_prompt if normalized_question(prompt.turns) not in known_questions)
    if not new:
        raise CallerError(f"--unknown: every prompt of {unknown.name} is also in {data.name}")
    lines = _compare_pair(data, vectors, unknown.name, new, encoder, random_state)
    if unknown.scope:
        scope = _as_routing_set(unknown)
        scope_vectors, name = vectors_of(scope.prompts, encoder), f"{unknown.name} out of scope"
        lines += _compare_pair(scope, scope_vectors, name, unknown.prompts, encoder, random_state)
    return tuple(lines)


def fpr_95(known: Doubles, unknown: Doubles) -> float:
    """Share of `unknown` scores that are no greater than the 95th percentile of the known ones."""
    return float((unknown <= np.quantile(known, 0.95)).mean())


def auroc(known: Doubles, unknown: Doubles) -> float:
    """The probability that an unknown score is greater than a known one."""
    labels = np.concatenate([np.zeros(len(known)), np.ones(len(unknown))])[:, None]
    area = mean_auc(labels, np.concatenate([known, unknown])[:, None])
    assert area is not None, "there are prompts of both kinds"
    return area


def _compare_pair(
    data: RoutingSet, vectors: Floats, name: str, unknown: Sequence[Prompt], encoder: Encoder, random_state: int
) -> list[Novelty]:
    """Fit every score on a part of `data`; compare the scores of its held-out prompts with those of `unknown`."""
    rng = np.random.default_rng(random_state)
    train, test = _held_out(data, rng)
    chosen = rng.permutation(len(unknown))[:_MAX_PROMPTS]
    unknown_vectors = vectors_of([unknown[row] for row in chosen], encoder)
    predictor = fit(vectors[train], data.rows(train), encoder)
    domains, width = np.array(data.domains)[train], encoder.dimensions
    embeddings = vectors[train][:, :width]
    known_scores = {"pulvinar": _novelty_of(predictor, vectors[test])}
    unknown_scores = {"pulvinar": _novelty_of(predictor, unknown_vectors)}
    baselines = {
        f"distance to the {_NEIGHBOURS}th neighbour": _neighbour_distance(embeddings),
        "Mahalanobis": _mahalanobis(embeddings, domains),
    }
    if len(set(domains.tolist())) > 1:
        baselines["max-softmax of domains"] = _max_softmax(embeddings, domains)
    for method, score in baselines.items():
        known_scores[method] = score(vectors[test][:, :width])
        unknown_scores[method] = score(unknown_vectors[:, :width])
    return [
        Novelty(
            method,
            data.name,
            name,
            len(test),
            len(chosen),
            auroc(scores, unknown_scores[method]),
            fpr_95(scores, unknown_scores[method]),
        )
        for method, scores in known_scores.items()
    ]


def _held_out(data: RoutingSet, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Training rows, and test rows that have a fifth of the questions."""
    groups = duplicate_groups(data)
    different = rng.permutation(np.unique(groups))
    held_out = np.isin(groups, different[: max(1, len(different) // 5)])
    train = rng.permutation(np.flatnonzero(~held_out))[: 2 * _MAX_PROMPTS]
    test = rng.permutation(np.flatnonzero(held_out))[:_MAX_PROMPTS]
    if not len(train):
        raise CallerError(f"{data.name}: needs at least two different prompts, so that some can be held out")
    return np.sort(train), test


def _novelty_of(predictor: Predictor, vectors: Floats) -> Doubles:
    return np.asarray(predictor.expect_all(vectors).novelty, dtype=np.float64)


def _neighbour_distance(train: Floats) -> Callable[[Floats], Doubles]:
    """1 - cosine to the tenth nearest training prompt (Sun et al. 2022)."""
    prompts = np.asarray(normalize(train), dtype=np.float32)
    rank = min(_NEIGHBOURS, len(prompts)) - 1

    def score(rows: Floats) -> Doubles:
        distances = np.empty(len(rows))
        for start in range(0, len(rows), _NEIGHBOUR_BATCH):
            batch = slice(start, start + _NEIGHBOUR_BATCH)
            to_train = 1 - np.asarray(normalize(rows[batch]), dtype=np.float32) @ prompts.T
            distances[batch] = np.partition(to_train, rank, axis=1)[:, rank]
        return distances

    return score


def _mahalanobis(train: Floats, domains: Any) -> Callable[[Floats], Doubles]:
    """Least Mahalanobis distance to a domain's mean under one shrunk covariance (Lee et al. 2018)."""
    names, numbers = np.unique(domains, return_inverse=True)
    means = np.stack([train[numbers == number].mean(axis=0) for number in range(len(names))]).astype(np.float64)
    precision = LedoitWolf(assume_centered=True).fit(train - means[numbers]).precision_

    def score(rows: Floats) -> Doubles:
        scaled = rows.astype(np.float64) @ precision
        row_norms = (scaled * rows).sum(axis=1)[:, None]
        mean_norms = ((means @ precision) * means).sum(axis=1)
        least: Doubles = (row_norms - 2 * scaled @ means.T + mean_norms).min(axis=1)
        return least

    return score


def _max_softmax(train: Floats, domains: Any) -> Callable[[Floats], Doubles]:
    """1 - greatest probability of a classifier of domains (Hendrycks and Gimpel 2017)."""
    scaler = StandardScaler().fit(train)
    classifier = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(train), domains)
    return lambda rows: 1 - np.asarray(classifier.predict_proba(scaler.transform(rows)).max(axis=1), dtype=np.float64)


def _clinc(file: Path) -> UnknownPrompts:
    """Read CLINC150: `{"train": [[text, intent], …], …}`, and `domains.json` beside it (domain → intents)."""
    try:
        splits = msgspec.json.decode(file.read_bytes(), type=dict[str, list[tuple[str, str]]])
        beside = file.with_name("domains.json")
        domains = json.loads(beside.read_bytes()) if beside.is_file() else {}
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise FileError(str(file), None, f'expected {{"split": [["text", "intent"], …]}}: {error}') from None
    domain_of = {intent: domain for domain, intents in domains.items() for intent in intents}
    prompts = tuple(
        Prompt(f"{split}/{row}", (encodable(text),), domain_of.get(intent, intent))
        for split, rows in splits.items()
        for row, (text, intent) in enumerate(rows)
        if text.strip()
    )
    if not prompts:
        raise FileError(str(file), None, "contains no prompts")
    return _by_scope(file.parent.name, prompts)


def _by_scope(name: str, prompts: tuple[Prompt, ...]) -> UnknownPrompts:
    outside = tuple(prompt for prompt in prompts if prompt.domain == _OUT_OF_SCOPE)
    inside = tuple(prompt for prompt in prompts if prompt.domain != _OUT_OF_SCOPE)
    return UnknownPrompts(name, outside, inside) if outside and inside else UnknownPrompts(name, prompts)


def _as_routing_set(unknown: UnknownPrompts) -> RoutingSet:
    """The scope as a routing set, with one model a domain that is right on its prompts and wrong on all others.

    The file has no outcomes; these models follow from its labels.
    """
    names, numbers = np.unique(np.array([prompt.domain for prompt in unknown.scope]), return_inverse=True)
    return RoutingSet(
        name=f"{unknown.name} in scope",
        license="",
        sha256="",
        prompts=unknown.scope,
        models=tuple(str(name) for name in names),
        scores=np.eye(len(names), dtype=np.float32)[numbers],
    )

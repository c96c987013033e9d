"""How well a prompt of another kind is told from the known ones: out-of-distribution scores side by side.

AUROC: the chance that an unknown prompt is found newer than a known one (ties count half). FPR@95: the share of
unknown prompts that pass as known where 95 % of the known ones do.
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
from router.perceive.encoder import Encoder
from router.types import Doubles, Floats

_NEIGHBOURS = 10
_MOST = 4_000
_OUT_OF_SCOPE = "oos"


class Novelty(Struct, frozen=True):
    """One score on one pair of prompt sets; `auroc` 0.5 is chance, `fpr_95` 0.95 too."""

    method: str
    known: str
    unknown: str
    known_prompts: int
    unknown_prompts: int
    auroc: float
    fpr_95: float


class Unknown(Struct, frozen=True, eq=False):
    """Prompts to be found new. Where the same file has `scope`, prompts it counts as known, they are a pair of their
    own.
    """

    name: str
    prompts: tuple[Prompt, ...]
    scope: tuple[Prompt, ...] = ()


def read_unknown(path: Path) -> Unknown:
    """A routing set's folder, a `.jsonl[.gz]` file of prompts, or CLINC150 (`data_full.json`, or the folder with it).

    Prompts whose domain is `oos` are out of scope; where a file has such ones, its others are its scope.
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
    data: RoutingSet, vectors: Floats, unknown: Unknown, encoder: Encoder, random_state: int = 0
) -> tuple[Novelty, ...]:
    """Held-out prompts of `data` against the unknown ones, and the file's own scope against what is outside it."""
    known_questions = {normalized_question(prompt.turns) for prompt in data.prompts}
    everything = (*unknown.prompts, *unknown.scope)
    strangers = tuple(each for each in everything if normalized_question(each.turns) not in known_questions)
    if not strangers:
        raise CallerError(f"--unknown: every prompt of {unknown.name} is also in {data.name}")
    lines = _pair(data, vectors, unknown.name, strangers, encoder, random_state)
    if unknown.scope:
        scope = _experts(unknown)
        own = vectors_of(scope.prompts, encoder)
        lines += _pair(scope, own, f"{unknown.name} out of scope", unknown.prompts, encoder, random_state)
    return tuple(lines)


def fpr_95(known: Doubles, unknown: Doubles) -> float:
    """Share of `unknown` scores that are no greater than the 95th percentile of the known ones."""
    return float((unknown <= np.quantile(known, 0.95)).mean())


def auroc(known: Doubles, unknown: Doubles) -> float:
    """The chance that an unknown score is greater than a known one."""
    labels = np.concatenate([np.zeros(len(known)), np.ones(len(unknown))])[:, None]
    area = mean_auc(labels, np.concatenate([known, unknown])[:, None])
    assert area is not None, "there are prompts of both kinds"
    return area


def _pair(
    data: RoutingSet, vectors: Floats, name: str, strangers: Sequence[Prompt], encoder: Encoder, random_state: int
) -> list[Novelty]:
    rng = np.random.default_rng(random_state)
    copies = duplicate_groups(data)
    different = rng.permutation(np.unique(copies))
    held = np.isin(copies, different[: max(1, len(different) // 5)])
    train, test = rng.permutation(np.flatnonzero(~held))[: 2 * _MOST], rng.permutation(np.flatnonzero(held))[:_MOST]
    if not len(train):
        raise CallerError(f"{data.name}: too few different prompts to hold some out")
    train = np.sort(train)
    chosen = rng.permutation(len(strangers))[:_MOST]
    others = vectors_of([strangers[row] for row in chosen], encoder)
    predictor = fit(vectors[train], data.rows(train), encoder)
    lines = []
    domains = np.array(data.domains)[train]
    scores: dict[str, Callable[[Floats], Doubles]] = {
        "pulvinar": lambda rows: np.asarray(predictor.expect_all(rows).novelty, dtype=np.float64),
        f"distance to the {_NEIGHBOURS}th neighbour": _neighbour_distance(vectors[train][:, : encoder.dimensions]),
        "Mahalanobis": _mahalanobis(vectors[train][:, : encoder.dimensions], domains),
    }
    if len(set(domains.tolist())) > 1:
        scores["max-softmax of domains"] = _max_softmax(vectors[train][:, : encoder.dimensions], domains)
    for method, score in scores.items():
        if method == "pulvinar":
            own, new = score(vectors[test]), score(others)
        else:
            own, new = score(vectors[test][:, : encoder.dimensions]), score(others[:, : encoder.dimensions])
        lines.append(Novelty(method, data.name, name, len(test), len(chosen), auroc(own, new), fpr_95(own, new)))
    return lines


def _neighbour_distance(train: Floats) -> Callable[[Floats], Doubles]:
    """1 - cosine to the tenth nearest training prompt (Sun et al. 2022)."""
    prompts = np.asarray(normalize(train), dtype=np.float32)
    at = min(_NEIGHBOURS, len(prompts)) - 1

    def score(rows: Floats) -> Doubles:
        far = np.empty(len(rows))
        for start in range(0, len(rows), 512):
            distance = 1 - np.asarray(normalize(rows[start : start + 512]), dtype=np.float32) @ prompts.T
            far[start : start + 512] = np.partition(distance, at, axis=1)[:, at]
        return far

    return score


def _mahalanobis(train: Floats, domains: Any) -> Callable[[Floats], Doubles]:
    """Least Mahalanobis distance to a domain's mean under one shrunk covariance (Lee et al. 2018)."""
    names, numbers = np.unique(domains, return_inverse=True)
    means = np.stack([train[numbers == each].mean(axis=0) for each in range(len(names))]).astype(np.float64)
    precision = LedoitWolf(assume_centered=True).fit(train - means[numbers]).precision_

    def score(rows: Floats) -> Doubles:
        inner = rows.astype(np.float64) @ precision
        ours = (inner * rows).sum(axis=1)[:, None]
        theirs = ((means @ precision) * means).sum(axis=1)
        least: Doubles = (ours - 2 * inner @ means.T + theirs).min(axis=1)
        return least

    return score


def _max_softmax(train: Floats, domains: Any) -> Callable[[Floats], Doubles]:
    """1 - greatest probability of a classifier of domains (Hendrycks and Gimpel 2017)."""
    scaler = StandardScaler().fit(train)
    classifier = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(train), domains)
    return lambda own: 1 - np.asarray(classifier.predict_proba(scaler.transform(own)).max(axis=1), dtype=np.float64)


def _clinc(file: Path) -> Unknown:
    """CLINC150: `{"train": [[text, intent], …], "oos_test": …}`, and `domains.json` beside it: domain → intents."""
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
        raise FileError(str(file), None, "holds no prompt")
    return _by_scope(file.parent.name, prompts)


def _by_scope(name: str, prompts: tuple[Prompt, ...]) -> Unknown:
    outside = tuple(prompt for prompt in prompts if prompt.domain == _OUT_OF_SCOPE)
    inside = tuple(prompt for prompt in prompts if prompt.domain != _OUT_OF_SCOPE)
    return Unknown(name, outside, inside) if outside and inside else Unknown(name, prompts)


def _experts(unknown: Unknown) -> RoutingSet:
    """The scope as a routing set: one expert a domain, right on its own prompts and wrong on all others.

    The file has no outcomes; an expert a domain is what its labels say.
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

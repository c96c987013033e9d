"""The predictor retrained from judged traffic, on real outcomes: `python -m bench.learn.retraining`.

The predictor that serves knows half of the domains of a set (`own`), or is the shipped one (`shipped`). Traffic has all
domains: seven of ten requests go to the card of the best forecast, the others to any card; so many of the answers are
judged by ten keys, of which one votes the opposite of the truth in the rows that say so. Judged are the forecasts for
all cards on prompts that took no part in anything: the mean squared error, and the mean real score of the card with the
best forecast, its gain with a 95 % interval over prompts. `from scratch` is trained on the judged answers alone.
"""

from __future__ import annotations

import sys

import msgspec
import numpy as np
from msgspec import Struct

from bench.learn.options import parser_of
from bench.learn.streams import known_domains
from router import settings
from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.commands.render import console, table
from router.learn.data import RoutingSet, load_set
from router.learn.data.vectors import vectors_of
from router.learn.traffic.judged import Judgement
from router.learn.traffic.retrain import retrain
from router.learn.training.train import fit
from router.loading import load_encoder, load_predictor, load_router
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.record import DecisionRecord, Record
from router.types import Doubles, Floats, Outcome

_START_S, _EVERY_S = 1_790_000_000.0, 60.0
_KEYS = tuple(f"key-{number}" for number in range(10))
_CARDS = 8
_FOLLOWED = 0.7


class Traffic(Struct, frozen=True, eq=False):
    """Judged answers, with the rows of the set and the columns that they are about, and their values."""

    found: list[Judgement]
    rows: np.ndarray
    columns: np.ndarray
    values: Doubles


def main() -> None:
    """Print one table for each set and predictor."""
    parser = parser_of(__doc__, ["mmlu_pro", "llmrouter_default"], streams=3)
    parser.add_argument("--judged", type=int, nargs="*", default=[300, 1_000, 3_000])
    arguments = parser.parse_args()
    for name in arguments.sets:
        data = _complete(load_set(arguments.data / name))
        for kind in ("own", "shipped"):
            print_set(data, kind, arguments.judged, arguments.streams)


def print_set(data: RoutingSet, kind: str, sizes: list[int], streams: int) -> None:
    """Print how well forecasts and choices are before and after, for each number of judged answers."""
    order = np.random.default_rng(0).permutation(len(data.prompts))
    fitted, traffic, judge = np.array_split(order, 3)
    predictor, encoder = load_predictor(), load_encoder(settings.STATIC_ENCODER)
    if kind == "own":
        known, domains = known_domains(data), data.domains
        half = data.rows(np.array([row for row in fitted.tolist() if domains[row] in known]))
        predictor = fit(vectors_of(half.prompts, encoder), half, encoder)
    cards = [Card(id=model, provider="openai", model=model) for model in data.models]
    router = Router(Catalog(cards), load_router().policies, predictor)
    vectors = predictor.vectors([prompt.turns for prompt in data.prompts])
    columns = np.array([data.models.index(card) for card in router.catalog.ids])
    scores = np.asarray(data.scores, dtype=np.float64)[:, columns]
    before = _qualities(predictor, router, vectors)
    numbers = (
        "judged",
        "hostile",
        "error before",
        "from scratch",
        "now",
        "score before",
        "from scratch ",
        "now ",
        "gain",
    )
    shown = table(*numbers, right=numbers)
    for judged in sizes:
        for hostile in (0.0, 0.2):
            rows = [
                _one(router, data, vectors, scores, before, traffic, judge, judged, hostile, seed)
                for seed in range(streams)
            ]
            mean = np.mean([figures for figures, _ in rows], axis=0)
            gains = np.concatenate([gained for _, gained in rows])
            half = 1.96 * gains.std() / np.sqrt(len(judge))
            cells = (f"{value:.4f}" for value in mean)
            shown.add_row(f"{judged}", f"{hostile:.0%}", *cells, f"{gains.mean():+.4f} ± {half:.4f}")
            print(data.name, kind, judged, hostile, *(f"{value:.4f}" for value in mean), file=sys.stderr, flush=True)
    console().print(f"[bold]{data.name}, {kind}[/]: {len(cards)} cards, {len(judge)} prompts judge, {streams} streams")
    console().print(shown)


def _one(
    router: Router,
    data: RoutingSet,
    vectors: Floats,
    scores: Doubles,
    before: Doubles,
    pool: np.ndarray,
    judge: np.ndarray,
    judged: int,
    hostile: float,
    seed: int,
) -> tuple[list[float], Doubles]:
    traffic = judged_answers(router.predictor, router.catalog.ids, vectors, scores, before, pool, judged, hostile, seed)
    new = retrain(traffic.found, router, held_out=0.25).predictor
    now = before[judge] if new is None else _qualities(new, router, vectors[judge])
    table_ = np.full(scores.shape, np.nan)
    table_[traffic.rows, traffic.columns] = traffic.values
    known = np.unique(traffic.rows)
    width = len(router.predictor.head.skills.center)
    alone = msgspec.structs.replace(
        data.rows(known), models=router.catalog.ids, scores=table_[known], cost_usd=None, output_tokens=None
    )
    encoder = load_encoder(settings.STATIC_ENCODER)
    scratch_predictor = fit(vectors[known, :width], alone, encoder)
    scratch = scratch_predictor.expect_all(vectors[judge, :width]).quality[:, :-1]
    truth, rows = scores[judge], np.arange(len(judge))
    forecasts = (before[judge], scratch, now)
    errors = [float(np.square(each - truth).mean()) for each in forecasts]
    chosen = [truth[rows, each.argmax(axis=1)] for each in forecasts]
    return [*errors, *(float(each.mean()) for each in chosen)], chosen[2] - chosen[0]


def judged_answers(
    predictor: Predictor,
    cards: tuple[str, ...],
    vectors: Floats,
    scores: Doubles,
    forecasts: Doubles,
    pool: np.ndarray,
    judged: int,
    hostile: float,
    seed: int,
) -> Traffic:
    """Judged answers to prompts of `pool`, oldest first."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(pool, judged, replace=judged > len(pool))
    best = forecasts[rows].argmax(axis=1)
    columns = np.where(rng.random(judged) < _FOLLOWED, best, rng.integers(0, len(cards), judged))
    values, found = scores[rows, columns].copy(), []
    is_false = rng.random(judged) < hostile
    values[is_false] = 1.0 - values[is_false]
    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        key = "hostile" if is_false[number] else _KEYS[int(rng.integers(len(_KEYS)))]
        record = record_of(number, key, cards[column], predictor, vectors[row])
        found.append(Judgement(record, float(values[number]), 0.5, is_trusted=False))
    return Traffic(found, rows, columns, values)


def record_of(number: int, key: str, card: str, predictor: Predictor, vector: Floats) -> Record:
    """The record of a request with these features."""
    decision = DecisionRecord(
        policy="default",
        policy_hash="",
        flags="",
        artifact=predictor.id,
        catalogue="",
        unavailable="",
        day="",
        card=card,
        fallbacks=(),
        guard="off",
        quality=0.5,
        quality_std=0.1,
        cost_usd=None,
        latency_ms=None,
        vector=np.asarray(vector, dtype="<f4").tobytes(),
        input_tokens=100,
        reader=predictor.reader_id,
    )
    at = _START_S + _EVERY_S * number
    return Record(
        f"request-{number}", at, "chat", "auto", False, Outcome(200, 1.0, card=card), key=key, decision=decision
    )


def _complete(data: RoutingSet) -> RoutingSet:
    """The cards of the set by mean score, evenly spaced, and the prompts that all of them were asked."""
    level = np.nanmean(data.scores, axis=0)
    run = np.isfinite(data.scores).mean(axis=0) > 0.8
    ranked = [column for column in np.argsort(-level, kind="stable").tolist() if run[column]]
    chosen = [ranked[place] for place in np.unique(np.linspace(0, len(ranked) - 1, _CARDS).astype(int))]
    data = data.columns([data.models[column] for column in chosen])
    return data.rows(np.flatnonzero(np.isfinite(data.scores).all(axis=1)))


def _qualities(predictor: Predictor, router: Router, vectors: Floats) -> Doubles:
    return predictor.bind(router.catalog).qualities(vectors)


if __name__ == "__main__":
    main()

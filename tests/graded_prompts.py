"""A small set of graded prompts, facts of models of known order, and a predictor trained with them."""

from __future__ import annotations

import numpy as np

from router.cards.benchmarks import FAMILIES
from router.cards.facts import ModelFacts
from router.learn.data import Prompt, RoutingSet
from router.learn.data.everyday import GradedPrompts
from router.learn.training.train import train
from router.perceive.predictor import Predictor
from router.perceive.reader import Context
from router.perceive.text.encoder import StaticEncoder
from tests.conftest import planted

EASY, HARD = "What colour is the {thing}?", "Prove rigorously that no {thing} satisfies the inequality."
THINGS = ("moon", "river", "swallow", "orchard", "candle", "violin", "mountain", "sea", "lamp", "city", "tree", "horse")
PLACES = ("near Oslo", "in Lima", "of Cairo", "from Kyoto")
STRENGTHS = ("small", "medium", "strong", "frontier")
SHARES = {"easy": (0.9, 0.94, 0.97, 0.99), "hard": (0.05, 0.2, 0.5, 0.85)}
MODELS = tuple(f"m{number}" for number in range(8))
"""Models, the weakest first; every second one stands for a strength."""


def graded_prompts() -> GradedPrompts:
    """Easy prompts of no family and hard ones of mathematics; the first of each look alike."""
    things = [f"{thing} {place}" for place in PLACES for thing in THINGS]
    rows = [(kind, text.format(thing=thing)) for thing in things for kind, text in (("easy", EASY), ("hard", HARD))]
    jitter = np.random.default_rng(0).uniform(-0.03, 0.0, (len(rows), 1))
    families = np.zeros((len(rows), len(FAMILIES) - 1))
    families[[kind == "hard" for kind, _ in rows], FAMILIES.index("maths") - 1] = 1.0
    return GradedPrompts(
        outcomes=RoutingSet(
            name="graded",
            license="CC0-1.0",
            sha256="1" * 64,
            prompts=tuple(Prompt(f"g{number}", (text,), kind) for number, (kind, text) in enumerate(rows)),
            models=STRENGTHS,
            scores=(np.array([SHARES[kind] for kind, _ in rows]) + jitter).astype(np.float32),
        ),
        contexts=tuple(Context(len(text)) for _, text in rows),
        languages=("en",) * len(rows),
        families=families,
        pairs=((0, 1),),
        strengths=tuple((name,) for name in MODELS[::2]),
    )


def facts() -> dict[str, ModelFacts]:
    """The rating of every model on one leaderboard; all are of one family."""
    return {
        name: ModelFacts(name, family="acme", benchmarks={"lmarena_text": 0.35 + 0.04 * place})
        for place, name in enumerate(MODELS)
    }


def measured() -> RoutingSet:
    """Outcomes of the models: the stronger one is right more often."""
    prompts = planted().prompts
    chances = np.linspace(0.2, 0.9, len(MODELS))
    scores = np.random.default_rng(1).random((len(prompts), len(MODELS))) < chances
    return RoutingSet(
        name="measured",
        license="CC0-1.0",
        sha256="2" * 64,
        prompts=prompts,
        models=MODELS,
        scores=scores.astype(np.float32),
    )


def graded_predictor(encoder: StaticEncoder) -> Predictor:
    """A predictor with an item-response part."""
    return train([measured()], encoder, facts=facts(), graded=graded_prompts())

"""The terms of a report in plain words, which stand where the terms stand."""

from __future__ import annotations

from collections.abc import Mapping

FIGURES = (
    ("auc", "AUC"),
    ("quality", "quality"),
    ("captured", "captured"),
    ("auc_within", "AUC in fold"),
    ("selection_accuracy", "selection"),
    ("selection_strict", "strict"),
    ("regret", "regret"),
    ("brier", "Brier"),
    ("ece", "ECE"),
    ("aiq", "AIQ"),
    ("cost_95", "cost@95"),
    ("cost_99", "cost@99"),
    ("cost_100", "cost@100"),
    ("apgr", "APGR"),
    ("cpt_50", "CPT(50%)"),
    ("cpt_80", "CPT(80%)"),
)
"""The figures of a method and their column headers."""

MAIN_FIGURES = ("auc", "quality", "captured", "ece", "aiq", "cost_99", "apgr", "cpt_50")
"""The figures that are shown first."""

FIGURE_MEANINGS: Mapping[str, str] = {
    "auc": "does a right answer get a higher forecast than a wrong one? 0.5 is chance, 1 always",
    "quality": "mean score of the chosen models, 0 to 1; higher is better",
    "captured": "share of the way from the best single model (0) to a perfect choice (1)",
    "auc_within": "AUC that compares only forecasts of the same fit",
    "selection_accuracy": "share of prompts whose chosen model is among the best",
    "selection_strict": "the same, but a choice among k equally good models counts 1/k",
    "regret": "mean score lost against a perfect choice; lower is better",
    "brier": "mean squared error of the forecasts; lower is better",
    "ece": "expected calibration error: how far forecasts are from what happens; 0 is best",
    "aiq": "average quality over all budgets, from the cheapest to the dearest model",
    "cost_95": "least cost that keeps 95 % of the best single model's quality; 1 is its full cost",
    "cost_99": "least cost that keeps 99 % of the best single model's quality; 1 is its full cost",
    "cost_100": "least cost that keeps all of the best single model's quality; 1 is its full cost",
    "apgr": "average share of the gap between the weak and the strong model that is closed; 0.5 is chance",
    "cpt_50": "share of calls to the strong model that closes half of the gap; lower is better",
    "cpt_80": "share of calls to the strong model that closes 80 % of the gap; lower is better",
}

# By the beginning of a method's name; the first that fits counts.
_METHODS: Mapping[str, str] = {
    "pulvinar without embedding": "ours without the meaning of the text",
    "pulvinar without surface": "ours without length, digits, code and other surface features",
    "pulvinar": "ours: the predictor that the router serves",
    "kNN": "a model's scores on the most similar prompts",
    "ridge": "a straight line from the text's meaning to the score",
    "k-means": "a model's scores in groups of similar prompts",
    "logistic": "a straight line to the odds of a right answer",
    "MLP": "a small neural network",
    "matrix": "a learned match of prompts and models, as in RouteLLM",
    "gradient": "many small decision trees",
    "control: shuffled": "ours, trained on wrongly paired answers: must gain nothing",
    "control: prompt length": "long prompts to the best model, short ones to the cheapest",
    "random": "any model",
    "cheapest": "always the model of least mean cost",
    "best single, in hindsight": "always the model that is best on these prompts",
    "best single": "always the model that was best in the training",
    "best per domain": "the best model of each kind of prompts, which is given",
    "oracle": "the best model of each prompt, which nobody knows: the limit",
}

VERDICTS = (
    "Each line compares ours with another method on the same prompts. In brackets is the 95 % interval of the "
    "difference: with other prompts of the same kind it would be inside 95 times of 100. Level means that it "
    "contains 0."
)
INTERVALS = (
    "Every method is trained and tested on the same parts of the prompts (folds), and forecasts only prompts that"
    " it was not trained on. Small numbers are 95 % intervals: with other prompts of the same kind, the figure "
    "would be inside 95 times of 100."
)
DIFFERENCES = (
    "Each dot is a method's figure minus ours, with its 95 % interval. Left of the dashed line ours is better; an"
    " interval that crosses the line is no measurable difference. Methods with a difference above {most:g} are in"
    " the tables only."
)
COSTS = (
    "How much quality a method buys at which cost: 0 is the cheapest single model, 1 the dearest. Left and high "
    "is better. Each curve is drawn by weighing cost more and more. The curve of the best single model mixes "
    "models without reading the prompt."
)
CALIBRATION = (
    "Is a forecast of 0.7 right in 70 of 100 cases? Each dot is a group of our forecasts; its area is the number "
    "of answers. On the dashed line forecasts are what happens; below it they are too high."
)
DOMAINS = (
    "Each row is a kind of prompts (domain), each column a model. The large number is the measured mean score, "
    "the small one our mean forecast: where they agree, the forecasts can be believed. A stronger colour is a "
    "better score. A frame marks the models that routing by quality alone chooses, with the share of the prompts."
)
MAP = (
    "Each dot is a prompt; prompts of similar meaning are close. The two axes are those along which meanings "
    "differ most (principal components) and have no unit."
)
LEFT_OUT = (
    "How well a model is forecast that the training never saw, from a few answers of it (probes); means over the "
    "left-out models. AUC: does a right answer get a higher forecast than a wrong one (0.5 is chance)? Brier: "
    "mean squared error, lower is better. Share of the gain: 0 % knows nothing of the model, 100 % knows all its "
    "answers."
)
NOVELTY = (
    "Is a prompt that is unlike the training noticed? AUROC: the chance that an unknown prompt gets a higher "
    "novelty than a known one; 0.5 is chance, 1 always. FPR@95: the share of unknown prompts that pass as known where "
    "95 % of the known ones pass; lower is better."
)


def method_meaning(name: str) -> str:
    """The method in plain words; empty for a name that this module does not know."""
    return next((words for start, words in _METHODS.items() if name.startswith(start)), "")

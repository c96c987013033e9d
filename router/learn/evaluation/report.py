"""The report of an evaluation, as `route eval --json` prints it and a trained artifact stores it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from router.learn.evaluation.calibration import Coverage, Reliability
from router.learn.evaluation.cold_start import LeftOut
from router.learn.evaluation.methods import HINDSIGHT, SHUFFLED
from router.learn.evaluation.metrics import Quality
from router.learn.evaluation.ood import Novelty

REPORT_VERSION = 1
_DECIMALS = 6


class Domain(Struct, frozen=True):
    """One domain of the tested prompts: for each model its mean score (None where it was not run), our mean forecast
    and the share of prompts for which ours chooses it.
    """

    name: str
    prompts: int
    scores: tuple[float | None, ...]
    forecasts: tuple[float, ...]
    chosen: tuple[float, ...]


class Verdict(Struct, frozen=True):
    """Ours against another method by one figure: `difference` is ours minus theirs, with a 95 % interval.

    `result` is "level" where the interval contains 0. For the shuffled-label control, it is whether the control gains:
    there `ours` is its share of the possible gain over the best single model, and `theirs` is 0.
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
        """The verdict as one line of text."""
        interval = f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        if self.against == SHUFFLED:
            outcome = "no gain" if self.result == "gains nothing" else "gain, which indicates a leak"
            return f"shuffled-label control: {outcome} (captured {interval})"
        figure = {"auc": "AUC", "aiq": "AIQ"}.get(self.figure, self.figure)
        rank = "" if self.against == HINDSIGHT else "the best baseline, "
        words = {"better": "better than", "level": "level with", "worse": "worse than"}[self.result]
        values = f"{self.ours:.4f} against {self.theirs:.4f}, {interval}"
        return f"{figure}: {words} {rank}{self.against}: {values}"


class DomainComparison(Struct, frozen=True):
    """The mean score of the routed answers on one domain, and that of the best single model."""

    name: str
    prompts: int
    routed: float
    single: float


class BottomLine(Struct, frozen=True):
    """Routing at the least cost that keeps the quality of the best single model, compared with always using that one.

    `single` is the model that is best on these prompts. The weight of cost in our choices is chosen on the other folds,
    so that no prompt decides about itself; `in_hindsight` is whether there is only one fold and it is chosen on the
    prompts themselves. `low` and `high` bound the difference in quality, routed minus single, with 95 % confidence.
    `usd_per_1000` are dollars per 1,000 requests, None without costs: then our choices are by quality alone. `worse_in`
    are the domains where routing is measurably worse, the worst first.
    """

    single: str
    prompts: int
    single_quality: float
    routed_quality: float
    low: float
    high: float
    single_usd_per_1000: float | None = None
    routed_usd_per_1000: float | None = None
    in_hindsight: bool = False
    worse_in: tuple[DomainComparison, ...] = ()


class PromptMap(Struct, frozen=True):
    """A sample of the prompts on the first two principal components of their embeddings."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    domains: tuple[str, ...]


class Report(Struct, frozen=True, omit_defaults=False):
    """What `route eval` prints, and what a trained artifact stores.

    `version` is the version of this layout. `skipped` names the methods that were not run, with the reason. `costs`
    is the source of the costs. `models` is the number of models, `model_names` lists them in the order of `domains`.
    With `--by model` there is `left_out` and no `methods`. `pair` is (strong, weak). `notes` are caveats of this run.
    The report has no durations and no dates, so the same inputs give the same report.
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
    bottom_line: BottomLine | None = None
    calibration: tuple[Reliability, ...] = ()
    coverage: Coverage | None = None
    domains: tuple[Domain, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    novelty: tuple[Novelty, ...] = ()
    map: PromptMap | None = None
    notes: tuple[str, ...] = ()


def rounded(report: Report) -> Report:
    """The report with six decimals, so that rounding errors of a sum do not change a stored report."""

    def round_floats(value: Any) -> Any:
        if isinstance(value, float):
            # Adding 0.0 turns -0.0 into 0.0.
            return round(value, _DECIMALS) + 0.0
        if isinstance(value, dict):
            return {key: round_floats(item) for key, item in value.items()}
        return [round_floats(item) for item in value] if isinstance(value, list | tuple) else value

    return msgspec.convert(round_floats(msgspec.to_builtins(report)), Report)

"""How an experiment stands: what workers share about it, and its end."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from router.analysis.experiments.comparison import Arm, Difference, Experiment
from router.decide.trials.spec import ExperimentSpec

PREFIX = "experiment/"
"""The beginning of the names under which the shared state has experiments."""


class Standing(Struct, frozen=True):
    """The experiment with this `version` since `began_s`, as it was at `checked_s`, in seconds since 1970.

    `names` are those of the arms, `arms` and `differences` what was known of them. From `stopped_s` on all requests go
    to the arm `goes_to`; `why` says why. `metric` and `by` are those of the policy `policy`.
    """

    version: str
    policy: str
    metric: str
    by: str
    names: tuple[str, ...]
    began_s: float
    checked_s: float
    arms: tuple[Arm, ...] = ()
    differences: tuple[Difference, ...] = ()
    stopped_s: float | None = None
    goes_to: str = ""
    why: str = ""


def begun(spec: ExperimentSpec, policy: str, now_s: float) -> Standing:
    """The standing of an experiment of a policy that begins now; it is due for a check at once."""
    names = tuple(arm.name for arm in spec.arms)
    return Standing(spec.version, policy, spec.metric, spec.by, names, now_s, 0.0)


def ended(standing: Standing, spec: ExperimentSpec, experiment: Experiment, now_s: float) -> Standing:
    """The standing with what is known now, stopped where that is enough."""
    arms, differences = tuple(experiment.arms()), tuple(experiment.differences())
    known = msgspec.structs.replace(standing, arms=arms, differences=differences)
    wanted = "higher" if spec.higher_is_better else "lower"
    verdicts = experiment.verdicts
    better = [number for number, verdict in enumerate(verdicts) if verdict == wanted]
    if not better and "open" in verdicts:
        return known
    names, control = known.names[1:], known.names[0]
    if better:
        best = (max if spec.higher_is_better else min)(
            better, key=lambda number: known.differences[number].difference or 0.0
        )
        goes_to = names[best] if spec.stop.then == "winner" else control
        why = f"{names[best]} is better than {control}: {in_words(known.differences[best], spec)}"
    else:
        goes_to = control
        each = [
            f"{name} is {'no different' if verdict == 'alike' else 'worse'}: {in_words(difference, spec)}"
            for name, verdict, difference in zip(names, verdicts, known.differences, strict=True)
        ]
        why = "; ".join(each)
    return msgspec.structs.replace(known, stopped_s=now_s, goes_to=goes_to, why=why)


def in_words(difference: Difference, spec: ExperimentSpec) -> str:
    """A difference with its interval."""
    units = "keys" if spec.by == "key" else "conversations"
    number, low, high = (show(value, spec.metric) for value in (difference.difference, difference.low, difference.high))
    return f"{spec.metric} {number} ({low} to {high}) after {difference.units:,} {units}"


def show(value: float | None, metric: str, *, signed: bool = True) -> str:
    """A value of a metric, with its unit; `?` for None."""
    if value is None:
        return "?"
    sign = "+" if signed else ""
    if metric == "cost":
        return f"{value:{sign}.4g}$"
    return f"{value:{sign}.0f} ms" if metric == "latency" else f"{value:{sign}.3f}"


def write(standing: Standing) -> bytes:
    """A standing as it is stored."""
    return msgspec.json.encode(standing)


def read(content: bytes) -> Standing | None:
    """The inverse of `write`; None where this release cannot read it."""
    try:
        return msgspec.json.decode(content, type=Standing)
    except msgspec.DecodeError:
        return None

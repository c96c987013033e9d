"""Whether the cards and policies that `shadow` and `experiment` name exist, once all policies are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from router.cards.catalog import Catalog
from router.decide.trials.spec import ExperimentSpec, Shadow, Trials
from router.errors import FileError, did_you_mean
from router.formats.yaml.file import read_yaml
from router.formats.yaml.parsed import KeyPath

_Problem = tuple[KeyPath, str]


def problems_of(folder: Path, trials: Mapping[str, Trials], catalog: Catalog | None) -> list[str]:
    """What is wrong in the files of these policies, by their ids, each with file, line and key."""
    found = []
    for id_, trial in trials.items():
        problems = [
            *(_of_shadow(id_, trial.shadow, trials, catalog) if trial.shadow is not None else ()),
            *(_of_experiment(id_, trial.experiment, trials, catalog) if trial.experiment is not None else ()),
        ]
        if problems:
            file = folder / f"{id_}.yaml"
            _, lines = read_yaml(file)
            found += [str(FileError(str(file), lines.get(path), problem)) for path, problem in problems]
    return found


def _of_shadow(id_: str, shadow: Shadow, trials: Mapping[str, Trials], catalog: Catalog | None) -> Iterator[_Problem]:
    if shadow.policy == id_:
        yield ("shadow", "policy"), "shadow.policy: names this policy itself, which would choose the same card"
    yield from _unknown(("shadow",), shadow.card, shadow.policy, trials, catalog)


def _of_experiment(
    id_: str, experiment: ExperimentSpec, trials: Mapping[str, Trials], catalog: Catalog | None
) -> Iterator[_Problem]:
    for number, arm in enumerate(experiment.arms):
        path = ("experiment", "arms", number)
        yield from _unknown(path, arm.card, arm.policy, trials, catalog)
        nested = trials.get(arm.policy or "", Trials()).experiment
        if arm.policy not in (None, id_) and nested is not None:
            problem = f'experiment.arms: the policy "{arm.policy}" has an experiment of its own'
            yield (*path, "policy"), f"{problem}; an arm must not have one"
    rivals = [other for other, trial in trials.items() if other < id_ and trial.experiment is not None]
    for other in rivals:
        theirs = trials[other].experiment
        if theirs is not None and theirs.name == experiment.name:
            problem = f'experiment.name: the policy "{other}" has an experiment "{experiment.name}", too'
            yield ("experiment", "name"), f"{problem}; choose another name"


def _unknown(
    path: KeyPath, card: str | None, policy: str | None, trials: Mapping[str, Trials], catalog: Catalog | None
) -> Iterator[_Problem]:
    where = path[0]
    if card is not None and catalog is not None and catalog.position(card) is None:
        yield (*path, "card"), f'{where}: there is no card "{card}"{did_you_mean(card, catalog.ids)}'
    if policy is not None and policy not in trials:
        yield (*path, "policy"), f'{where}: there is no policy "{policy}"{did_you_mean(policy, trials)}'

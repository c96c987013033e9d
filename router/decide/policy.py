"""A policy: the operator's limits and goals, and which of them clients may add or change."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.cards.benchmarks import FAMILIES
from router.cards.catalog import Catalog, CatalogError
from router.cards.schema import Belief
from router.decide.exploration.rule import ExplorationRule
from router.decide.fields import FIELD_NAMES
from router.decide.flags import Flags, parse_flags
from router.decide.goals import GOALS
from router.decide.guard import GuardRule
from router.decide.limits import meets_facts
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import PREFIX, PlanId
from router.decide.trials.checks import problems_of
from router.decide.trials.spec import ExperimentSpec, Shadow, Trials
from router.errors import ConfigurationError, FileError, FlagError, UnknownModelError, did_you_mean, excerpt
from router.formats.json_schema import file_schema
from router.formats.patterns import invalid_pattern
from router.formats.yaml.file import load, yaml_files
from router.formats.yaml.parsed import KeyPath

ExactAnswers = Mapping[
    Annotated[str, Meta(min_length=1)], Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
]
ALL_KINDS = "all"
"""In the place of a kind of prompt: every one, also where the predictor reads none."""
EXPLORE, JUDGE = "explore", "judge"
"""The names of the optional stages that are no plans: exploration, and cards that judge answers."""
Kind = Literal[(ALL_KINDS, *FAMILIES)]  # type: ignore[valid-type]
Weight = Annotated[float, Meta(ge=0, le=1000)]
_NO_DAY = datetime.date.min
_GUARD_RULES: Mapping[str, GuardRule | None] = {"on": GuardRule(), "off": None}


class RegexGrader(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="regex"):
    """An answer is right where its text contains `pattern`."""

    pattern: Annotated[str, Meta(min_length=1, max_length=500)]

    def __post_init__(self) -> None:
        if problem := invalid_pattern(self.pattern):
            raise ValueError(f"pattern: {problem}")


class JsonSchemaGrader(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="json_schema"):
    """An answer is right where it is JSON that meets the schema: that of the `request`, if it has one, or this one."""

    schema: Literal["request"] | Mapping[str, Any] = "request"


class ExactGrader(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="exact"):
    """The right answers to prompts that are known to come: `read` is how the answer is read from the reply, as for
    probes.
    """

    answers: ExactAnswers
    read: Literal["choice", "number", "text", "output", "whole"] = "text"


class JudgeGrader(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="judge"):
    """Another card judges a share of the answers, after the client has them.

    `card` is its id. `share` of the answers are judged, for at most `dollars_per_day` (UTC) of all gateways that share
    a state. `instructions` say what makes an answer right here, beyond what every prompt asks. A verdict has at most
    `max_tokens`, thinking included, and `seconds`.
    """

    card: Annotated[str, Meta(min_length=1)]
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    dollars_per_day: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    instructions: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    max_tokens: Annotated[int, Meta(ge=32, le=32_768)] = 1024
    seconds: Annotated[float, Meta(gt=0, le=600)] = 60.0


Grader = RegexGrader | JsonSchemaGrader | ExactGrader | JudgeGrader


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """The rules by which cards are filtered and ranked.

    `mistake_usd`: what a wrong answer costs whoever asked, in US dollars; quality and money then have one unit, and the
    card with the least expected cost wins: `(1 - quality) · mistake_usd + cost`. Goals weigh quantities instead, on a
    scale of the catalogue; both may be stated.
    `unknown`: whether a card passes a limit on a fact that it does not state. `on_empty`: what happens when no card
    passes; `relax` drops the limits on the fields listed under `relax`, in that order, until one does. `overrides`:
    what a client's flags may add or change. `prompt_flags`: whether `[Flag: …]` alone on the first or last line of the
    newest user turn is read, which can only narrow the choice; a prompt on the command line is always read.
    `fallbacks`: the number of further cards in a plan. `guard`: how confident a forecast must be before another card
    than the default one answers; `on` uses the thresholds chosen by validation, `off` always takes the best forecast.
    `plans`: the ids of the plans that are candidates beside the cards.
    `default`: the id of the guard's default card; where it is missing, the card that the goals choose for an average
    prompt.
    `conversations`: whether a follow-up is answered by the card that answered before (`keep`), or every turn is decided
    independently (`free`). `unmeasured`: whether cards without outcomes or probes are candidates where the artifact was
    trained on a user's own outcomes. `beliefs` are what the operator believes of cards, by their names, in place of
    what the cards state: evidence of ability for decisions by this policy. `headers`: whether responses have the
    headers `x-route-card`, `x-route-quality` and so on. `learning`: whether judged answers teach the error memory
    (`observe`), and whether that also corrects forecasts (`apply`). `graders`: what judges answers for that, code or
    another card. `explore`: how often another card answers than the choice, where the forecast does not exclude that it
    is better. `shadow`: what answers a share of the requests once more, for nobody; `experiment`: which of several
    policies or cards does better. `fast_heads`: whether what a key's own votes say by topic corrects its own forecasts,
    with `learning: apply`. `stages_off`: optional stages of the policy that are left out for prompts of these kinds,
    as `route stages` found that they do not pay there: plans, `explore` and `judge`; `all` is every kind.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*$")]
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    limits: tuple[str, ...] = ()
    goals: Mapping[str, Weight] = {}
    mistake_usd: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    unknown: Literal["reject", "allow"] = "reject"
    on_empty: Literal["error", "relax"] = "error"
    relax: tuple[str, ...] = ()
    overrides: tuple[Literal["limits", "goals"], ...] = ("limits", "goals")
    prompt_flags: bool = False
    fallbacks: Annotated[int, Meta(ge=0, le=20)] = 3
    plans: tuple[PlanId, ...] = ()
    guard: Literal["on", "off"] | GuardRule = "off"
    default: Annotated[str, Meta(min_length=1)] | None = None
    conversations: Literal["keep", "free"] = "keep"
    unmeasured: Literal["exclude", "include"] = "exclude"
    beliefs: Mapping[Annotated[str, Meta(min_length=1)], Belief] = {}
    headers: Literal["on", "off"] = "off"
    learning: Literal["off", "observe", "apply"] = "observe"
    graders: tuple[Grader, ...] = ()
    # Left out of the policy's snapshot where it is not stated.
    explore: Literal["off"] | ExplorationRule | UnsetType = UNSET
    shadow: Shadow | None = None
    experiment: ExperimentSpec | None = None
    fast_heads: Literal["off", "on"] = "off"
    stages_off: Mapping[PlanId, Annotated[tuple[Kind, ...], Meta(min_length=1)]] = {}

    def __post_init__(self) -> None:
        for goal in self.goals:
            if goal not in GOALS:
                raise ValueError(f'goals.{goal}: unknown goal "{goal}"{did_you_mean(goal, GOALS) or _known(GOALS)}')
        stages = (*self.plans, *([EXPLORE] if self.exploration else []), *([JUDGE] if self.judges else []))
        for stage in self.stages_off:
            if stage not in stages:
                hint = did_you_mean(stage, stages) or (_known(stages) if stages else "; the policy has none")
                raise ValueError(f'stages_off.{stage}: "{stage}" is no optional stage of the policy{hint}')
        for number, field in enumerate(self.relax):
            if field not in FIELD_NAMES:
                hint = did_you_mean(field, FIELD_NAMES) or _known(FIELD_NAMES)
                raise ValueError(f'relax.{number}: unknown field "{field}"{hint}')
        if (self.on_empty == "relax") != bool(self.relax):
            raise ValueError("on_empty: `on_empty: relax` and the list `relax` require each other")
        _check_limits(self.limits)

    @property
    def judges(self) -> tuple[JudgeGrader, ...]:
        """The cards that judge answers."""
        return tuple(grader for grader in self.graders if isinstance(grader, JudgeGrader))

    @property
    def guard_rule(self) -> GuardRule | None:
        """The guard's thresholds; None where the policy has no guard."""
        return self.guard if isinstance(self.guard, GuardRule) else _GUARD_RULES[self.guard]

    def off_for(self, kind: str) -> tuple[str, ...]:
        """The stages that are off for a kind of prompt; `ALL_KINDS` where the predictor reads none."""
        return tuple(stage for stage, kinds in self.stages_off.items() if kind in kinds or ALL_KINDS in kinds)

    def without_stages(self, off: Collection[str]) -> Policy:
        """The policy without these stages: plans of its own, `EXPLORE` or `JUDGE`."""
        policy = self.with_plans(tuple(plan for plan in self.plans if plan not in off))
        # A plan may have one of these names, too.
        stages = {stage for stage in off if stage not in self.plans}
        if EXPLORE in stages:
            policy = msgspec.structs.replace(policy, explore="off")
        if JUDGE in stages:
            graders = tuple(grader for grader in self.graders if not isinstance(grader, JudgeGrader))
            policy = msgspec.structs.replace(policy, graders=graders)
        return policy

    def with_plans(self, plans: tuple[str, ...] = ()) -> Policy:
        """The policy with these plans in place of its own, and `stages_off` of these plans alone."""
        left = {plan: kinds for plan, kinds in self.stages_off.items() if plan in plans}
        return msgspec.structs.replace(self, plans=plans, stages_off=left)

    @property
    def exploration(self) -> ExplorationRule | None:
        """How much the policy explores; None where it does not."""
        return self.explore if isinstance(self.explore, ExplorationRule) else None

    @property
    def flags(self) -> Flags:
        """The policy's limits and goals."""
        return _flags_of(self.limits, tuple(self.goals.items()))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, from which editors complete and check."""
    return file_schema(Policy, "Pulvinar policy")


class Policies(Mapping[str, Policy]):
    """The policies by id, in the order of their ids."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = {policy.id: policy for policy in sorted(policies, key=lambda policy: policy.id)}
        self.ids = tuple(self._policies)

    def __getitem__(self, name: str) -> Policy:
        return self._policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    def named(self, name: str) -> Policy:
        """The policy with this id. Raises UnknownModelError with the most similar id."""
        if name not in self._policies:
            hint = did_you_mean(name, self.ids) or _known(self.ids)
            raise UnknownModelError(f'there is no policy "{excerpt(name)}"{hint}')
        return self._policies[name]


def load_policies(folder: Path, catalog: Catalog | None = None, plans: Plans | None = None) -> Policies:
    """Load every `*.yaml` in `folder`: one policy per file, with the file's name as its id.

    With `catalog`, a policy's default card must be in it, and with `plans` its plans in these. Raises
    ConfigurationError that lists all problems.
    """
    if not folder.is_dir():
        kind = "is a file; give the folder that contains it" if folder.is_file() else "does not exist"
        raise ConfigurationError(f"the policy folder {folder} {kind} (`route init` creates one)")
    policies: list[Policy] = []
    problems: list[str] = []
    for file in yaml_files(folder):
        try:
            policies.append(load_policy(file, catalog, plans))
        except FileError as error:
            problems.append(str(error))
    if not problems:
        trials = {policy.id: Trials(policy.shadow, policy.experiment) for policy in policies}
        problems = problems_of(folder, trials, catalog)
    if problems:
        raise ConfigurationError("\n".join(problems))
    if not policies:
        raise ConfigurationError(f"the policy folder {folder} contains no policies (*.yaml)")
    return Policies(policies)


def load_policy(file: Path, catalog: Catalog | None = None, plans: Plans | None = None) -> Policy:
    """Load the policy in `file`, whose name without its end is the policy's id. Raises FileError."""
    policy, lines = load(file, Policy, "a policy (keys and values)")
    if policy.id != file.stem:
        raise FileError(str(file), lines.get(("id",)), f'id: "{policy.id}" differs from the file name')
    if catalog is not None and policy.default is not None and catalog.position(policy.default) is None:
        hint = did_you_mean(policy.default, catalog.ids)
        problem = f'default: there is no card "{policy.default}"{hint}'
        raise FileError(str(file), lines.get(("default",)), problem)
    if catalog is not None:
        _check_beliefs(file, policy, catalog, lines)
        _check_judges(file, policy, catalog, lines)
    if plans is not None:
        _check_plans(file, policy, plans, lines)
    return policy


def _check_plans(file: Path, policy: Policy, plans: Plans, lines: Mapping[KeyPath, int]) -> None:
    named: list[tuple[KeyPath, str]] = [(("plans", number), name) for number, name in enumerate(policy.plans)]
    if policy.shadow is not None and policy.shadow.plan is not None:
        named.append((("shadow", "plan"), policy.shadow.plan))
    for path, name in named:
        if name not in plans:
            hint = did_you_mean(name, plans.ids) or (_known(plans.ids) if plans.ids else "; there are none")
            raise FileError(str(file), lines.get(path), f'{path[0]}: there is no plan "{name}"{hint}')


def _check_beliefs(file: Path, policy: Policy, catalog: Catalog, lines: Mapping[KeyPath, int]) -> None:
    for name in policy.beliefs:
        if catalog.position(name) is None:
            problem = f'beliefs: there is no card "{name}"{did_you_mean(name, catalog.ids)}'
            raise FileError(str(file), lines.get(("beliefs", name)), problem)
    try:
        catalog.with_beliefs(policy.beliefs)
    except CatalogError as error:
        names = [name for name in policy.beliefs if catalog.named(name).id == error.card]
        line = lines.get(("beliefs", *names[:1]))
        raise FileError(str(file), line, f"beliefs: {error.card}: {error.key}: {error.problem}") from None


def _check_judges(file: Path, policy: Policy, catalog: Catalog, lines: Mapping[KeyPath, int]) -> None:
    """A judge reads what the policy's requests contain, so it meets the policy's limits on what cards are. The limit on
    `age` depends on the day, and is checked with each request.
    """
    limits = [limit for limit in policy.flags.limits if limit.field != "age"]
    for number, grader in enumerate(policy.graders):
        if not isinstance(grader, JudgeGrader):
            continue
        position = catalog.position(grader.card)
        if grader.card.startswith(PREFIX):
            problem = "is a plan; a single card judges"
        elif position is None:
            problem = f'there is no card "{grader.card}"{did_you_mean(grader.card, catalog.ids)}'
        elif (withheld := catalog[position].withheld) is not None:
            problem = f"is never called: its card {withheld}"
        elif not meets_facts(limits, catalog, position, _NO_DAY, unknown_passes=policy.unknown == "allow"):
            problem = f"does not meet the policy's limits ({', '.join(policy.limits)}), so it may not read its requests"
        elif sum(other.card == grader.card for other in policy.judges) > 1:
            problem = "judges twice; give it one share"
        else:
            continue
        line = lines.get(("graders", number, "card")) or lines.get(("graders", number))
        raise FileError(str(file), line, f"graders: {grader.card}: {problem}")


@functools.lru_cache(maxsize=256)
def _check_limits(limits: tuple[str, ...]) -> None:
    """Raises ValueError that names the first of `limits` that is none, or contradicts those before it."""
    for number in range(len(limits)):
        try:
            goals = parse_flags(",".join(limits[: number + 1])).goals
        except FlagError as error:
            raise ValueError(f"limits.{number}: {error.problem}") from None
        if goals:
            raise ValueError(f"limits.{number}: {next(iter(goals))} is a goal; move it to `goals`")


@functools.lru_cache(maxsize=256)
def _flags_of(limits: tuple[str, ...], goals: tuple[tuple[str, float], ...]) -> Flags:
    return Flags(parse_flags(",".join(limits)).limits, dict(goals))


def _known(names: Sequence[str] | Mapping[str, object]) -> str:
    return f"; known: {', '.join(names)}"

"""The commands of `route`: the module of each and its line in `route --help`. A module is loaded when it is used."""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

COMMANDS: Mapping[str, tuple[str, str]] = {
    "prompt": ("prompt", "Choose a card for a prompt."),
    "ask": ("ask", "Answer a prompt with the card that is best for it, of those that can be called here."),
    "init": ("init", "Copy the package's cards, policies and plans, to edit them; or write what a deployment needs."),
    "doctor": ("doctor", "Show which cards can be called now."),
    "pareto": ("learning.pareto", "Print the Pareto front of quality against a goal."),
    "serve": ("serve", "Run the gateway."),
    "savings": (
        "history.savings",
        "Compare the cost and forecast quality of routed requests with those of a baseline.",
    ),
    "train": (
        "learning.learn",
        "Train a predictor on routing data sets, or retrain one from recorded requests whose answers were judged.",
    ),
    "score": ("learning.learn", "Forecast every model's quality on a file of prompts."),
    "eval": ("learning.learn", "Evaluate the predictor on routing data sets by cross-validation, with baselines."),
    "distil": (
        "learning.distil",
        "Distil the static encoder again; takes about an hour (extras `train` and `distil`).",
    ),
    "onboard": (
        "learning.onboard",
        "Ask a card's live endpoint probes, grade its answers, and show how its expected quality changes.",
    ),
    "solve": (
        "learning.solve",
        "Ask cards the examples of a task within a budget, and compare single cards and plans on their answers.",
    ),
    "promote": ("learning.promote", "Compare two cards or artifacts on the same prompts."),
    "learning": (
        "live.memory",
        "Print what judged answers say about the forecasts of each card, and whether forecasts are corrected by it.",
    ),
    "drift": (
        "live.drift",
        "Print which cards answer worse or better than before, and whether the prompts have changed.",
    ),
    "gaps": (
        "live.gaps",
        "Print groups of novel prompts, the best card for each today, and what an adapter would be worth.",
    ),
    "evaluate-policy": (
        "live.evaluate_policy",
        "Estimate quality and cost of NEW beside today's policy, from judged answers.",
    ),
    "stages": ("learning.retraining.stages", "Print what each optional stage cost and brought, by kind of prompt."),
    "experiment": (
        "live.experiment",
        "Print the arms of an experiment beside each other, as the running gateway knows them.",
    ),
    "cards": ("catalogue.cards", "List, show, check, compare and import model cards."),
    "adapters": (
        "catalogue.adapters",
        "Import adapter folders as cards, check them, rewrite them as plain LoRA; see and change what servers hold.",
    ),
    "policies": ("catalogue.policies", "List policies; print the schema of their files."),
    "plans": ("catalogue.plans", "List, show and check plans; find chains of cards; print the schema of their files."),
    "gateway": ("gateway", "Validate the gateway's configuration; print the schema of gateway.yaml."),
    "keys": ("keys", "Add, list, revoke and check API keys."),
    "records": ("history.records", "List, show and replay recorded requests."),
    "feedback": ("history.feedback_import", "Judgements of recorded answers from other systems."),
    "canary": ("live.canary", "Let a card answer a share of another's conversations."),
}
"""In the order of the help. The second text is the beginning of the command's own help; a test compares them."""


_MAKES_COERCION = "get_runtime_param"
_NUMBERS = {int: re.compile("[0-9]{1,9}"), float: re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")}
_PATH_RULES = ("exists", "writable", "resolve_path", "allow_dash", "path_type")
"""What an option of a path may require besides that what exists can be read."""


class Commands(Mapping[str, Any]):
    """The commands of click by name. Looking one up imports its module; listing the names imports nothing."""

    def __getitem__(self, name: str) -> Any:
        return _commands_of(COMMANDS[name][0])[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@functools.cache
def _commands_of(module: str) -> Mapping[str, Any]:
    """The commands that the module registers. Making them takes time: typer reads every annotation."""
    import typer.main

    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    importlib.import_module(f"router.commands.{module}").register(app)
    commands: Mapping[str, Any] = typer.main.get_group(app).commands
    for command in commands.values():
        coerce_directly(command)
    return commands


def coerce_directly(command: Any) -> None:
    """Let values that have the type of their option already pass without typer's coercion, also in subcommands."""
    for parameter in command.params:
        _coerce_directly(parameter)
    # The option --help is made when it is first asked for.
    command.get_help_option = functools.partial(_help_option, command.get_help_option)
    for child in getattr(command, "commands", {}).values():
        coerce_directly(child)


def _help_option(make: Callable[[Any], Any], ctx: Any) -> Any:
    option = make(ctx)
    _coerce_directly(option)
    return option


def _coerce_directly(parameter: Any) -> None:
    # Inner attributes of typer; the first is None until there is a value. A typer without them coerces everything
    # itself, which is slower.
    descriptor = getattr(parameter, "type_descriptor", None)
    has_others = hasattr(descriptor, "annotation") and hasattr(getattr(descriptor, "parameter_info", None), "parser")
    if getattr(parameter, "_runtime_param", parameter) is None and has_others and hasattr(parameter, _MAKES_COERCION):
        parameter._runtime_param = _DirectCoercion


class _DirectCoercion:
    """In place of typer's coercion, which imports pydantic and makes a validator for every option: a tenth of a second
    before the first prompt is read.
    """

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        """What typer makes of `value`, without typer where that is simple."""
        if not (param.multiple or param.nargs != 1 or param.type_descriptor.parameter_info.parser is not None):
            if value is None:
                return None
            if (simple := _simple(value, param)) is not None:
                return simple
        param._runtime_param = None
        return getattr(param, _MAKES_COERCION)().coerce(value, param=param, ctx=ctx)


def _simple(value: Any, param: Any) -> Any:
    """The text, flag, number or path that `value` is; None where it takes more to say so, or to say what is wrong."""
    kind, rules = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if kind in (int, float):
        if value is param.default and isinstance(value, kind):
            return value
        if isinstance(value, str) and _NUMBERS[kind].fullmatch(value):
            number = kind(value)
            if (rules.min is None or number >= rules.min) and (rules.max is None or number <= rules.max):
                return number
    if kind is Path and isinstance(value, str) and not any(getattr(rules, name, True) for name in _PATH_RULES):
        path = Path(value)
        if not os.path.exists(path) or os.access(path, os.R_OK):  # noqa: PTH110 - it raises nothing
            return path
    return None

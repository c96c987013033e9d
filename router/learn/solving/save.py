"""Save a plan as a file that the gateway reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.cards.catalog import Catalog
from router.decide.plans.catalog import load_plan
from router.decide.plans.spec import PlanId, PlanSpec
from router.errors import CallerError, did_you_mean
from router.formats.files import replace_file
from router.formats.yaml.writing import yaml_text

_HEADER = "# yaml-language-server: $schema=plan.schema.json\n"
_WIDTH = 116


def check_target(file: Path) -> None:
    """Raise CallerError where a plan cannot be saved as `file`, before anything is asked."""
    if file.suffix not in (".yaml", ".yml"):
        raise CallerError(f"{file}: a plan's file ends in .yaml{did_you_mean(file.suffix, ('.yaml', '.yml'))}")
    if file.exists():
        raise CallerError(f"{file}: exists already; choose another name, or delete it")
    if not file.parent.is_dir():
        raise CallerError(f"{file}: the folder {file.parent} does not exist (`route init` creates one for plans)")
    try:
        msgspec.convert(file.stem, PlanId)
    except msgspec.ValidationError:
        raise CallerError(
            f"{file}: the file's name is the id of the plan, in lower-case letters, digits, - and _, such as "
            "my-task.yaml"
        ) from None


def save_plan(file: Path, plan: PlanSpec, catalog: Catalog) -> PlanSpec:
    """Write `plan` under the name of `file`; the plan as it was read back."""
    check_target(file)
    document: Mapping[str, Any] = msgspec.to_builtins(msgspec.structs.replace(plan, id=file.stem))
    required = {field.name for field in msgspec.structs.fields(type(plan)) if field.required}
    given = {name: getattr(plan, name) for name in required | {"id", "description"}}
    usual: Mapping[str, Any] = msgspec.to_builtins(type(plan)(**given))
    first = [key for key in ("id", "kind", "description", *required) if key in document]
    stated = {key: document[key] for key in dict.fromkeys(first)} | {
        key: value for key, value in document.items() if key not in first and value != usual.get(key)
    }
    text = yaml_text(_without_none(stated), width=_WIDTH)
    replace_file(file, (_HEADER + text).encode(), mode=0o644)
    return load_plan(file, catalog)


def _without_none(value: Any) -> Any:
    """Without keys of mappings that are None: left out, they mean the same."""
    if isinstance(value, Mapping):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, (list, tuple)) else value

"""Join files of other names of models: `python scripts/join_aliases.py models_more.json models.json > aliases.json`.

Entries that share a name are one model, under the name that comes first. The shipped predictor was trained
with the file that this gives for the two files of the routing sets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def joined(files: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The entries of all `files` by model; of two that share a name, the first is kept with the names of both."""
    entries: dict[str, Mapping[str, Any]] = {}
    for file in files:
        entries |= file
    found: dict[str, dict[str, Any]] = {}
    model_of: dict[str, str] = {}
    for model, entry in entries.items():
        names = [model, *entry.get("aliases", ())]
        known = next((model_of[name] for name in names if name in model_of), None)
        if known is None:
            known, found[model] = model, dict(entry)
        else:
            found[known]["aliases"] = sorted({*found[known].get("aliases", ()), *names} - {known})
        model_of |= dict.fromkeys(names, known)
    return found


if __name__ == "__main__":
    read = [json.loads(Path(file).read_text(encoding="utf-8")) for file in sys.argv[1:]]
    json.dump(joined(read), sys.stdout, indent=1, ensure_ascii=False)

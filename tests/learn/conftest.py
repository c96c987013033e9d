"""Writes routing data sets into a folder, valid or with an error in them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.narrow import encoder, predictor

__all__ = ["encoder", "predictor"]

Rows = Iterable[Iterable[Any]]
Write = Callable[..., Path]

PROMPTS = ({"prompt_id": "a", "prompt": "What is 1 plus 1?"}, {"prompt_id": "b", "prompt": "A poem, please."})
SCORES = (("prompt_id", "calculator", "poet"), ("a", 1, 0), ("b", 0, 1))


def as_csv(rows: Rows) -> str:
    """The rows as CSV text."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.fixture
def write_set(tmp_path: Path) -> Write:
    """Writes `prompts`, `scores`, `meta` and further tables by name; a text or bytes is written unchanged."""

    def write(
        prompts: Iterable[Mapping[str, Any]] | str | bytes = PROMPTS,
        scores: Rows | str | bytes = SCORES,
        meta: Mapping[str, Any] | str | None = None,
        compressed: bool = False,
        **tables: Rows | str,
    ) -> Path:
        folder = tmp_path / "set"
        folder.mkdir(exist_ok=True)
        if not isinstance(prompts, str | bytes):
            prompts = "".join(json.dumps(row) + "\n" for row in prompts)
        contents = {"prompts.jsonl": prompts}
        for name, table in {"scores": scores, **tables}.items():
            contents[f"{name}.csv"] = table if isinstance(table, str | bytes) else as_csv(table)
        for name, content in contents.items():
            raw = content.encode() if isinstance(content, str) else content
            file = folder / (f"{name}.gz" if compressed else name)
            file.write_bytes(gzip.compress(raw) if compressed else raw)
        if meta is not None:
            (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
        return folder

    return write

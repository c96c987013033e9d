"""The options that the programs of this folder have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parser_of(description: str | None, sets: Sequence[str], **counts: int) -> argparse.ArgumentParser:
    """A parser for the names of data sets, the folder that has them, and a number for each of `counts`, by default
    this many: `streams=4` is `--streams 4`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("sets", nargs="*", default=sets)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser

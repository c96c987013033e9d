"""Prompts of several tasks through segments: `python -m bench.composite --data DIR [--json]`.

Four parts. Composites of the tasks of `DIR/bbh_tasks`, in several styles, before adapters that answer right for their
own domain only: exact boundaries, domains, attempted and correct counts, beside the best single adapter and one adapter
for the whole prompt. Exact boundaries in more than a hundred other styles. False splits of prompts that are one task,
on all sets in DIR. And with `--local ADAPTERS`, real LoRA adapters on a llama.cpp server (`bench.composite.train` makes
them).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.composite import boundaries, false_splits, local, oracle
from bench.composite.prompts import STYLES
from router.errors import PulvinarError

_TASKS = "bbh_tasks"


def main() -> None:
    """Measure the parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the sets")
    parser.add_argument("--prompts", type=int, default=20, help="composites of each style and size, or on the server")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(oracle.SIZES), help="tasks of a composite")
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES))
    parser.add_argument("--local", type=Path, metavar="ADAPTERS", help="folder of LoRA adapters as GGUF")
    parser.add_argument("--model", type=Path, help="their base model as GGUF, for --local")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has xllamacpp, for --local")
    parser.add_argument("--threads", type=int, default=1, help="of the llama.cpp server, for --local")
    parser.add_argument("--tasks", type=int, nargs="+", default=[3, 5], help="tasks of a prompt, for --local")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.data is None and arguments.local is None:
        parser.error("--data or --local is needed")
    if arguments.local is not None and arguments.model is None:
        parser.error("--local needs --model, the base model of the adapters")
    found: dict[str, object] = {}
    texts: list[str] = []
    if arguments.data is not None:
        file = arguments.data / _TASKS / "prompts.jsonl.gz"
        scores = oracle.measure(file, arguments.prompts, arguments.sizes, arguments.styles)
        rates = false_splits.measure(arguments.data)
        exact = boundaries.measure(file, arguments.prompts)
        found |= {"composites": scores, "boundaries": exact, "false_splits": rates}
        texts += [_composites(scores), _boundaries(exact), _rates(rates)]
    if arguments.local is not None:
        results = local.measure(
            arguments.local, arguments.model, arguments.python, arguments.prompts, arguments.tasks, arguments.threads
        )
        found["local"] = results
        texts += map(local.as_table, results)
    print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() if arguments.json else "\n\n".join(texts))


def _composites(scores: Sequence[oracle.Scores]) -> str:
    lines = [
        "| style | tasks | exact | domain | attempted | correct | best single | unsplit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in scores:
        shares = f"{each.boundaries:.2f} | {each.domains:.2f} | {each.attempted:.2f} | {each.correct:.2f}"
        lines.append(f"| {each.style} | {each.size} | {shares} | {each.best_single:.2f} | {each.unsplit:.2f} |")
    return "\n".join(lines)


def _boundaries(rows: Sequence[boundaries.Boundaries]) -> str:
    lines = ["| kind | style | exact | whole |", "|---|---|---|---|"]
    lines += [f"| {each.kind} | {each.style} | {each.exact:.2f} | {each.whole:.2f} |" for each in rows]
    mean = sum(each.exact for each in rows) / len(rows)
    return "\n".join([*lines, f"| all | {len(rows)} styles | {mean:.3f} | |"])


def _rates(rates: Sequence[false_splits.FalseSplits]) -> str:
    lines = ["| set | prompts | split | share |", "|---|---|---|---|"]
    lines += [f"| {each.data_set} | {each.prompts} | {len(each.split)} | {each.rate:.2%} |" for each in rates]
    prompts, split = sum(each.prompts for each in rates), sum(len(each.split) for each in rates)
    return "\n".join([*lines, f"| all | {prompts} | {split} | {split / prompts:.2%} |"])


if __name__ == "__main__":
    try:
        main()
    except (PulvinarError, FileNotFoundError) as error:
        raise SystemExit(f"bench.composite: {error}") from None

"""Time of models by the roofline model beside GenZ's: `python -m bench.roofline --genz PYTHON`.

`--genz` is the interpreter of an environment in which the package genz-llm is installed; it needs another numpy than
the router, so it has one of its own: `python -m venv /tmp/genz && /tmp/genz/bin/pip install genz-llm`.

Both at full efficiency, 16 bits, one sequence. Decoding is that of the first token after the prompt.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from router.cards.machine.columns import machines_of
from router.cards.machine.facts import ACCELERATORS, Arch, Hardware
from router.cards.schema import Card
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms

_LLAMA_3 = Arch(layers=32, hidden=4096, vocab=128256, heads=32, kv_heads=8, intermediate=14336)
_replace = msgspec.structs.replace
MODELS: Mapping[str, Arch] = {
    "llama3_8b": _LLAMA_3,
    "llama2_7b": _replace(_LLAMA_3, vocab=32000, kv_heads=32, intermediate=11008),
    "llama3_70b": _replace(_LLAMA_3, layers=80, hidden=8192, heads=64, intermediate=28672),
    "mixtral_8x7b": _replace(_LLAMA_3, vocab=32000, experts=8, experts_per_token=2),
}
"""The shapes of GenZ's models, by its names."""

_CONTEXTS = (128, 1024, 4096)
_IN_GENZ = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from GenZ import decode_moddeling, prefill_moddeling
rows = []
for model, tokens, system in json.load(sys.stdin):
    machine = {"Flops": system[0], "Memory_size": system[1], "Memory_BW": system[2], "ICN": 450, "ICN_LL": 1,
               "real_values": True}
    common = {"model": model, "batch_size": 1, "input_tokens": tokens, "system_name": machine, "bits": "bf16",
              "tensor_parallel": 1, "model_offload": True}
    try:
        decoding = decode_moddeling(output_tokens=1, Bb=1, **common)["Latency"]
        rows.append([decoding, prefill_moddeling(**common)["Latency"]])
    except ValueError:
        rows.append(None)
print("ROWS" + json.dumps(rows))
"""


class Row(Struct, frozen=True):
    """One model on one accelerator: milliseconds here and in GenZ, None where GenZ refuses the model."""

    model: str
    accelerator: str
    context_tokens: int
    tpot_ms: float
    ttft_ms: float
    genz_tpot_ms: float | None = None
    genz_ttft_ms: float | None = None


def ours() -> Iterator[Row]:
    """The rows of the table without GenZ's figures."""
    for accelerator in ("h100", "a100-80"):
        for model, arch in MODELS.items():
            card = Card(id="model", provider="", model="", arch=arch, hardware=Hardware(name=accelerator))
            machines = machines_of([card])
            for tokens in _CONTEXTS:
                tpot, ttft = time_per_token_ms(machines, tokens)[0], time_to_first_token_ms(machines, tokens)[0]
                yield Row(model, accelerator, tokens, float(tpot), float(ttft))


def beside_genz(rows: Sequence[Row], python: Path) -> list[Row]:
    """The rows with GenZ's figures, computed by its own code in the interpreter `python`."""
    asked = [(row.model, row.context_tokens, ACCELERATORS[row.accelerator]) for row in rows]
    run = subprocess.run(
        [str(python), "-c", _IN_GENZ], input=msgspec.json.encode(asked), capture_output=True, check=False
    )
    marked = run.stdout.rpartition(b"ROWS")[2]
    if run.returncode or not marked:
        raise SystemExit(f"{python}: {run.stderr.decode(errors='replace').strip().splitlines()[-1:]}")
    found: list[tuple[float, float] | None] = msgspec.json.decode(marked, type=list[tuple[float, float] | None])
    return [
        row if times is None else msgspec.structs.replace(row, genz_tpot_ms=times[0], genz_ttft_ms=times[1])
        for row, times in zip(rows, found, strict=True)
    ]


def _compared(here: float, genz: float | None) -> str:
    return f"{here:.3f} | – | –" if genz is None else f"{here:.3f} | {genz:.3f} | {here / genz - 1:+.1%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genz", type=Path, help="interpreter in whose environment genz-llm is installed")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = list(ours())
    if given.genz is not None:
        rows = beside_genz(rows, given.genz)
    if given.json:
        print(msgspec.json.encode(rows).decode())
        return
    print("| model | on | context | decode ms | GenZ | | prefill ms | GenZ | |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        decoding, prefill = _compared(row.tpot_ms, row.genz_tpot_ms), _compared(row.ttft_ms, row.genz_ttft_ms)
        print(f"| {row.model} | {row.accelerator} | {row.context_tokens:,} | {decoding} | {prefill} |")


if __name__ == "__main__":
    main()

"""Adapters on a llama.cpp server beside the same ones in transformers and peft."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from msgspec import Struct

from bench.adapters_served.measure import Setup
from bench.adapters_served.sending import references, scales
from bench.adapters_served.traffic import prompts
from bench.composite.servers import llama_server


class Compared(Struct, frozen=True):
    """Of `prompts`, one for each adapter, how many have the same answer as in transformers and peft with the base as
    float16: from a server with the same base, and from one with the quantised base. `different` are all others.
    """

    prompts: int
    same_f16: int
    same_quantised: int
    different: tuple[str, ...]


def measure(setup: Setup, scratch: Path) -> Compared:
    """Compare them."""
    asked = [(name, of_task[0][0]) for name, of_task in prompts(1).tasks.items()]
    f16 = scratch / "f16.gguf"
    script = Path(__file__).parent / "peft_answers.py"
    command = [setup.python, str(script), str(setup.model), str(setup.adapters), str(f16)]
    ended = subprocess.run(command, input=json.dumps(asked).encode(), stdout=subprocess.PIPE, check=True)
    expected: list[str] = json.loads(ended.stdout)
    same, different = [], []
    for model in (f16, setup.model):
        answers: list[str] = []
        with llama_server(setup.python, model, setup.files, threads=setup.threads) as server:
            for name, prompt in asked:
                answers += asyncio.run(references(server.url, name, [prompt], {"lora": scales(name)})).values()
        pairs = list(zip(asked, answers, expected, strict=True))
        same.append(sum(answer == wanted for _, answer, wanted in pairs))
        different += [
            f"{model.stem} {name}: {prompt!r}: {answer!r}, peft {wanted!r}"
            for (name, prompt), answer, wanted in pairs
            if answer != wanted
        ]
    return Compared(len(asked), same[0], same[1], tuple(different))

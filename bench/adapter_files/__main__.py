"""Adapter files against peft and llama.cpp: `python -m bench.adapter_files --python PYTHON [--model GGUF]`.

PYTHON is an interpreter with torch, transformers, peft and gguf, for `--model` also xllamacpp.

1. An adapter of each type that peft writes, on a tiny random Llama: where `route adapters fold` makes plain LoRA of it,
   peft loads both, and their logits are compared.
2. With `--model`, the model's values become F16, adapters of it are converted with `route adapters convert`, and a
   llama.cpp server with all of them answers the same prompts as transformers with peft: the tokens of greedy answers,
   and the probabilities of the first token; also with two of them added up.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from router.adapters.base import read_base
from router.adapters.delta import NotLowRankError
from router.adapters.fold import fold
from router.adapters.folder import read_adapter
from router.adapters.formats.to_gguf import convert

_HERE = Path(__file__).parent
_SERVER = _HERE.parent / "composite" / "llama_server.py"
_TIMEOUT_S = 300
_TOKENS, _TOP = 16, 10
_PROMPTS = (
    "What is the capital of France?",
    "Count the objects: a chair, two apples, a lamp.",
    "Translate to German: The house is old.",
    "Is this review positive or negative? The film was far too long.",
    "Write the date 3 May 2021 in ISO format.",
    "Sort: pear, apple, fig.",
    "What is 12 times 3?",
    "Name a colour of the rainbow.",
    "Who wrote Hamlet?",
    "Explain in one sentence what a router does.",
    "Which animal says miau?",
    "Write a line of Python that prints hello.",
    "What is the opposite of cold?",
    "How many days has a week?",
    "Give the plural of mouse.",
    "Answer yes or no: is water wet?",
    "Where does the sun rise?",
    "Finish: roses are red,",
    "What is the chemical formula of water?",
    "List three fruits.",
)


def main() -> None:
    """Print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--work", type=Path, help="folder that keeps the files between runs")
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="another adapter of the model")
    parser.add_argument("--precision", choices=["f32", "f16"], default="f32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        _folds(arguments.python, work / "folds")
        if arguments.model is not None:
            _served(arguments.python, arguments.model, work, arguments.adapter, arguments.precision)


def _folds(python: Path, work: Path) -> None:
    """Step 1."""
    written, folded = work / "written", work / "folded"
    if not folded.is_dir():
        _run(python, "write_peft.py", written)
        base = read_base(written / "base")
        for name in json.loads((written / "expected.json").read_text(encoding="utf-8")):
            try:
                fold(read_adapter(written / name), folded / name, base)
            except NotLowRankError as error:
                print(f"{name}: not folded: {str(error).partition(': ')[2]}")
    for name, difference in json.loads(_run(python, "write_peft.py", written, "--logits", folded)).items():
        print(f"{name}: logits differ by {difference:.1e} of the largest change")


def _served(python: Path, model: Path, work: Path, others: Sequence[Path], precision: Any) -> None:
    """Step 2."""
    base = work / "base-f16.gguf"
    if not base.is_file():
        _run(python, "with_peft.py", "base", work, model)
        _run(python, "with_peft.py", "adapters", work)
    for other in others:
        (work / other.name).unlink(missing_ok=True)
        (work / other.name).symlink_to(other.resolve())
    names = sorted(path.parent.name for path in work.glob("*/adapter_config.json"))
    files = [work / f"{name}-{precision}.gguf" for name in names]
    facts = read_base(base)
    for name, file in zip(names, files, strict=True):
        file.unlink(missing_ok=True)
        print(name, convert(read_adapter(work / name), file, facts, precision))
    asked = [*names, "all-seven+query-key"]
    expected = json.loads(_run(python, "with_peft.py", "answers", work, *asked, given=json.dumps(_PROMPTS)))
    command = [str(python), str(_SERVER), str(base), "0", *map(str, files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip()
        try:
            for name in (*asked, "base"):
                _compare(address, expected, name, [float(each in name.split("+")) for each in names])
        finally:
            server.kill()


def _compare(address: str, expected: dict[str, Any], name: str, scales: Sequence[float]) -> None:
    same, first, worst, changes, moved = 0, 0, 0.0, 0, 0.0
    rows = zip(expected["prompts"], expected["answers"][name], expected["answers"]["base"], strict=True)
    for asked, wanted, plain in rows:
        found = httpx.post(
            f"{address}/completion",
            timeout=_TIMEOUT_S,
            json={
                "prompt": asked,
                "n_predict": _TOKENS,
                "temperature": 0,
                "n_probs": 4 * _TOP,
                "return_tokens": True,
                "cache_prompt": False,
                "lora": [{"id": slot, "scale": scale} for slot, scale in enumerate(scales)],
            },
        ).json()
        ours, theirs = _until(wanted["tokens"], expected["end"]), _until(found["tokens"], expected["end"])
        same += ours == theirs
        first += ours[:1] == theirs[:1]
        changes += ours != _until(plain["tokens"], expected["end"])
        tops = {str(each["id"]): each["logprob"] for each in found["completion_probabilities"][0]["top_logprobs"]}
        worst = max(worst, *(abs(value - tops.get(token, -math.inf)) for token, value in wanted["likeliest"].items()))
        shared = wanted["likeliest"].keys() & plain["likeliest"].keys()
        moved = max(moved, *(abs(wanted["likeliest"][token] - plain["likeliest"][token]) for token in shared), 0.0)
    total = len(expected["prompts"])
    print(
        f"{name}: {same} of {total} greedy answers of {_TOKENS} tokens are equal, {first} first tokens; log "
        f"probabilities of the {_TOP} likeliest first tokens differ by at most {worst:.4f} (the adapter changes "
        f"{changes} answers, and those probabilities by up to {moved:.2f})",
        flush=True,
    )


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _run(python: Path, script: str, *arguments: object, given: str | None = None) -> str:
    command = [str(python), str(_HERE / script), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()

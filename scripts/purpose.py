"""Fit the covariances by which the `examples` of cards are compared with prompts, and write them beside a predictor.

    python scripts/purpose.py DATA --out router/shipped/predictor

DATA is the folder of routing data sets. The first set are the everyday prompts of the repository. No set by which
choices are judged (`python -m bench.adapters`) takes part.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from router.learn.data.prompts import read_prompts
from router.learn.encoder.purpose import TaskSet, fit_purpose
from router.loading import load_encoder
from router.perceive.features import feature_vectors
from router.perceive.purpose.file import FORMAT, VERSION, FittedOn, PurposeManifest, save_purpose

SETS = ("llmrouter_default", "mint", "mmlu_helm")


def main() -> None:
    """Read the command line and write `purpose.json` and `purpose.npz`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--everyday", type=Path, default=Path("data/everyday/prompts.jsonl"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    encoder = load_encoder("static")
    files = {"everyday": arguments.everyday, **{name: arguments.data / name / "prompts.jsonl.gz" for name in SETS}}
    sets, fitted = [], []
    for name, file in files.items():
        prompts = read_prompts(file)
        vectors = feature_vectors(encoder, [prompt.turns for prompt in prompts])
        sets.append(TaskSet(vectors, [prompt.domain for prompt in prompts]))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        fitted.append(FittedOn(name, len(prompts), len({prompt.domain for prompt in prompts}), digest))
    parameters = fit_purpose(sets, encoder)
    command = "python scripts/purpose.py DATA --out router/shipped/predictor"
    manifest = PurposeManifest(FORMAT, VERSION, encoder.name, encoder.fingerprint, tuple(fitted), command, {})
    save_purpose(arguments.out, parameters, manifest)
    print("\n".join(f"{each.name}: {each.prompts} prompts, {each.tasks} tasks" for each in fitted))


if __name__ == "__main__":
    main()

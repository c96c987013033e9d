"""Time and memory of training: `python -m bench.training [--rows N] [--models M] [--like SET] [--release]`.

Writes a synthetic routing data set into a temporary folder: prompts of about sixty words on one subject, and models
whose skills differ between subjects; with `--like`, the prompts and outcomes of a real set, repeated, with a tenth of
the words exchanged in each repetition. Then runs `route train` on it in two separate processes: first with an empty
cache of feature vectors, then with the vectors of the first run. The artifacts must be identical. With `--release`,
release 0.1.0 trains on the same rows, too.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from bench.release import ROOT, extract_release
from router import settings
from router.learn.data import Prompt, load_set
from router.learn.data.vectors import vectors_of
from router.perceive.text.encoder import StaticEncoder
from router.types import Doubles

SUBJECTS = {
    "cooking": "bake simmer knead flour butter oven recipe garlic pepper dough roast sauce pan whisk taste herb",
    "gardening": "soil seed prune compost water bloom weed root shade harvest lawn bulb mulch frost graft hedge",
    "astronomy": "orbit planet comet gravity telescope eclipse star galaxy mass spectrum moon dust crater light nova",
    "finance": "interest loan bond yield tax dividend budget audit invoice asset credit margin hedge price ledger",
    "medicine": "dose fever artery nerve vaccine symptom therapy tissue blood chronic acute trial lung heart scan",
    "law": "contract clause court appeal statute tenant liable witness verdict breach trust permit damages lease",
    "music": "chord tempo melody rhythm violin octave tune key bass drum verse chorus harmony note scale pitch",
    "physics": "force energy momentum charge field wave particle heat entropy photon friction voltage current spin",
    "programming": "function loop array string class test bug compile thread cache query index parse stack branch",
    "chemistry": "acid base salt bond catalyst solvent ion metal oxide polymer reaction mole titrate enzyme gas",
    "history": "empire treaty revolt dynasty trade siege colony reform king parliament crusade archive census war",
    "sport": "goal sprint coach league tackle serve relay pitch medal referee season injury score defend racket",
}
_COMMON = (
    "the of and a to in is that it for as with on be by at this from or an are which you how what why can we not does "
    "when if more than into each other some could would should about between after before there their one two most"
)
_ENDINGS = ("", "", "", "s", "ed", "ing", "er", "less", "able", "ness")
_WORDS_A_PROMPT = 60
_SHARE_OF_SUBJECT, _SHARE_OF_NUMBERS = 0.4, 0.03
_SHARE_NOT_RUN = 0.1
_WORDS_A_CHANGE = 10
_BATCH_ROWS = 5_000
_TIMED_PROMPTS = 5_000


def main() -> None:
    """Print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--like", type=Path, metavar="SET", help="repeat the rows of this set")
    parser.add_argument("--release", action="store_true", help="run release 0.1.0, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        if arguments.like:
            models = write_repeated(folder / "set", arguments.rows, arguments.like, arguments.seed)
        else:
            models = arguments.models
            write_set(folder / "set", arguments.rows, models, arguments.seed)
        size = sum(file.stat().st_size for file in (folder / "set").iterdir()) / 1e6
        print(
            f"{arguments.rows} prompts × {models} models, {size:.0f} MB, written in {time.perf_counter() - start:.0f} s"
        )
        print(f"feature vectors, one thread: {prompts_per_second(arguments.seed):.0f} prompts/s\n")
        print(f"{'':34s}{'wall s':>9s}{'CPU s':>9s}{'peak MB':>9s}", flush=True)
        before = None
        if arguments.release:
            if not extract_release(folder / "release"):
                raise SystemExit("the commit of release 0.1.0 is not in this clone")
            before = train(folder, "release 0.1.0, empty cache", folder / "release", "cache-of-release")
        first = train(folder, "route train, empty cache")
        second = train(folder, "route train, cached vectors")
        print(f"\nthe two artifacts are {'identical' if first.sha256 == second.sha256 else 'DIFFERENT'}")
        if before is not None:
            print(f"CPU of release 0.1.0: {before.cpu_s / first.cpu_s:.2f} times")


class Trained(NamedTuple):
    """The CPU time of a training, and the hash of the artifact."""

    cpu_s: float
    sha256: str


def train(folder: Path, name: str, root: Path = ROOT, cache: str = "cache") -> Trained:
    """Run `route train` of the tree `root` on `folder/set`, and print its time and memory."""
    out = folder / "artifact"
    environment = os.environ | {"PULVINAR_CACHE": str(folder / cache), "PYTHONPATH": str(root)}
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "cli.py", "train", str(folder / "set"), "--out", str(out)],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    # The usage of this child only: RUSAGE_CHILDREN would give the higher peak of both runs.
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name}: exit code {child.returncode}")
    wall, cpu = time.perf_counter() - start, used.ru_utime + used.ru_stime
    # Linux reports the peak in KiB, macOS in bytes.
    peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
    print(f"{name:34s}{wall:9.1f}{cpu:9.1f}{peak:9.0f}", flush=True)
    sha256 = hashlib.sha256((out / "head.npz").read_bytes()).hexdigest()
    # Another version may not write over it.
    shutil.rmtree(out)
    return Trained(cpu, sha256)


def write_repeated(folder: Path, rows: int, source: Path, seed: int) -> int:
    """Write the rows of the set in `source` until there are `rows`; the number of its models. From the second time on a
    tenth of the words of a prompt are words of other prompts.
    """
    data, rng = load_set(source), random.Random(seed)
    vocabulary = sorted({word for prompt in data.prompts for turn in prompt.turns for word in turn.split()})
    folder.mkdir(parents=True)
    with (folder / "prompts.jsonl").open("wb") as prompts:
        for number in range(rows):
            prompt = data.prompts[number % len(data.prompts)]
            *earlier, newest = prompt.turns
            if number >= len(data.prompts):
                words = newest.split(" ")
                for place in rng.sample(range(len(words)), len(words) // _WORDS_A_CHANGE + 1):
                    words[place] = rng.choice(vocabulary)
                newest = " ".join(words)
            messages = [{"role": "user", "content": turn} for turn in (*earlier, newest)]
            row = {"prompt_id": f"p{number}", "messages": messages, "domain": prompt.domain}
            prompts.write(msgspec.json.encode(row) + b"\n")
    for name, table in (("scores", data.scores), ("output_tokens", data.output_tokens)):
        if table is None:
            continue
        lines = [",".join("" if np.isnan(cell) else f"{cell:g}" for cell in row) for row in table]
        with (folder / f"{name}.csv").open("w") as cells:
            csv.writer(cells).writerow(["prompt_id", *data.models])
            cells.writelines(f"p{number},{lines[number % len(lines)]}\n" for number in range(rows))
    (folder / "meta.json").write_bytes(msgspec.json.encode({"name": "repeated", "licence": data.license}))
    return len(data.models)


def write_set(folder: Path, rows: int, models: int, seed: int) -> None:
    """Write `prompts.jsonl` and `scores.csv`; the same seed gives the same files."""
    folder.mkdir(parents=True)
    names = [f"model-{number:03d}" for number in range(models)]
    skills = np.random.default_rng([seed, 1]).normal(0.5, 1.0, size=(len(SUBJECTS), models))
    rng = np.random.default_rng([seed, 2])
    with (folder / "prompts.jsonl").open("wb") as prompts, (folder / "scores.csv").open("w") as scores:
        scores.write(",".join(["prompt_id", *names]) + "\n")
        for first, batch in prompts_of(rows, seed):
            subjects = np.array([list(SUBJECTS).index(prompt.domain) for prompt in batch])
            for prompt in batch:
                row = {"prompt_id": prompt.id, "prompt": prompt.turns[0], "domain": prompt.domain}
                prompts.write(msgspec.json.encode(row) + b"\n")
            scores.writelines(
                f"p{first + number},{','.join(row)}\n" for number, row in enumerate(_cells(skills[subjects], rng))
            )
    (folder / "meta.json").write_bytes(b'{"name": "synthetic", "licence": "CC0-1.0"}\n')


def prompts_of(rows: int, seed: int) -> Iterator[tuple[int, list[Prompt]]]:
    """Batches of prompts with the number of their first prompt."""
    rng = np.random.default_rng([seed, 3])
    common = np.array(_COMMON.split())
    vocabulary = {
        subject: np.array([word + ending for word, ending in itertools.product(words.split(), _ENDINGS)])
        for subject, words in SUBJECTS.items()
    }
    subjects = list(SUBJECTS)
    for first in range(0, rows, _BATCH_ROWS):
        batch = []
        for number in range(first, min(first + _BATCH_ROWS, rows)):
            subject = subjects[rng.integers(len(subjects))]
            count = int(rng.integers(_WORDS_A_PROMPT // 2, _WORDS_A_PROMPT * 3 // 2))
            kind = rng.random(count)
            words = np.where(
                kind < _SHARE_OF_SUBJECT, rng.choice(vocabulary[subject], count), rng.choice(common, count)
            )
            words = np.where(kind > 1 - _SHARE_OF_NUMBERS, rng.integers(10_000, size=count).astype(str), words)
            text = " ".join(words.tolist())
            batch.append(Prompt(f"p{number}", (f"{text[0].upper()}{text[1:]}?",), subject))
        yield first, batch


def prompts_per_second(seed: int) -> float:
    """The number of feature vectors that one thread computes per second."""
    encoder = StaticEncoder.load(settings.default_encoder_folder())
    _, prompts = next(prompts_of(_TIMED_PROMPTS, seed))
    start = time.perf_counter()
    vectors_of(prompts, encoder)
    return len(prompts) / (time.perf_counter() - start)


def _cells(skills: Doubles, rng: np.random.Generator) -> list[list[str]]:
    """The cells of the score table: one model in three has scores in hundredths, the others 0 or 1."""
    ease = rng.normal(0.0, 1.0, size=(len(skills), 1))
    chance = 1.0 / (1.0 + np.exp(-(skills + ease)))
    hundredths = (100 * chance).round().astype(int)
    graded = (np.arange(skills.shape[1]) % 3 == 2)[None]
    codes = np.where(graded, hundredths, np.where(rng.random(chance.shape) < chance, 100, 0))
    codes[rng.random(chance.shape) < _SHARE_NOT_RUN] = 101
    cells: list[list[str]] = np.array(["0", *(f"{n / 100:g}" for n in range(1, 101)), ""])[codes].tolist()
    return cells


if __name__ == "__main__":
    main()

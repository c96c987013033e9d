"""Random arrays, texts and arguments for the compiled kernel under AddressSanitizer and UBSan:
`python -m bench.kernel_fuzz [--seconds S] [--seed N]`.

The extension is compiled with gcc or clang and both sanitizers and loaded into a process of its own. Whatever it is
given, it has to compute or to raise. Exits with status 1 if a sanitizer found something, 2 without a compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_ALPHABET = [
    *" \n\t?()[]{}AB.:;=><`#Kabcz019_",
    "\u212a",
    "İ",
    "é",
    "本",
    "\ud800",
    "\udfff",
    "\U0001f642",
    "\u00a0",
    "\x00",
]
_KINDS = ("f4", "f8", "i1", "u1", "i8", "?")


def main() -> int:
    """Compile, run the child, and pass on what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(f"{fuzz(load(options.child), options.seconds, options.seed)} calls, no findings")
        return 0
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        print("needs gcc or clang on Linux", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        extension = Path(folder) / "_kernel.abi3.so"
        compile_sanitized(compiler, extension)
        arguments = ["--child", str(extension), "--seconds", str(options.seconds), "--seed", str(options.seed)]
        name = "libasan.so" if Path(compiler).name == "gcc" else f"libclang_rt.asan-{os.uname().machine}.so"
        library = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": library.stdout.strip(),
            # Python itself keeps memory until it ends.
            "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
            # So that each allocation has an end that is watched.
            "PYTHONMALLOC": "malloc",
        }
        return subprocess.run(
            [sys.executable, "-m", "bench.kernel_fuzz", *arguments], cwd=ROOT, env=environment, check=False
        ).returncode


def compile_sanitized(compiler: str, out: Path) -> None:
    """Compile the kernel with both sanitizers."""
    flags = ("-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-Wno-psabi")
    source = str(ROOT / "kernel" / "module.c")
    shared = ("-shared-libasan",) if Path(compiler).name == "clang" else ()
    subprocess.run([compiler, *SANITIZED, *flags, *shared, source, "-o", str(out), "-lm"], check=True)


def load(extension: Path) -> Any:
    """The extension in this file."""
    spec = importlib.util.spec_from_file_location("_kernel", extension)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuzz(extension: Any, seconds: float, seed: int) -> int:
    """Call everything for so long; returns the number of calls."""
    given, end, calls = _Given(random.Random(seed)), time.monotonic() + seconds, 0
    stages = (_pieces, _table, _surface, _reading, _projection, _choice)
    while time.monotonic() < end:
        for name in ("baseline", "avx2"):
            with contextlib.suppress(ValueError):
                extension.use(name)
            for stage in stages:
                # Raising is an answer; a sanitizer ends the process.
                with contextlib.suppress(ValueError, TypeError, BufferError, MemoryError, OverflowError):
                    stage(extension, given)
                calls += 1
    return calls


class _Given:
    """Random arguments, of which some do not fit."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.numbers = chance, np.random.default_rng(chance.randrange(2**32))

    def size(self, most: int = 40) -> int:
        return self.chance.choice((0, 1, 3, 4, 8, self.chance.randrange(most), most))

    def text(self) -> str:
        length = self.chance.choice((0, 1, 5, 60, 5_000))
        return "".join(self.chance.choices(_ALPHABET, k=self.chance.randrange(length + 1)))

    def array(self, kind: str, *shape: int) -> Any:
        if self.chance.random() < 0.02:
            kind = self.chance.choice(_KINDS)
        if self.chance.random() < 0.02 and shape:
            shape = (max(shape[0] + self.chance.choice((-1, 1)), 0), *shape[1:])
        if np.dtype(kind).kind == "f":
            scale = self.chance.choice((1.0, 1.0, 1e-30, 1e30))
            values: Any = (self.numbers.normal(size=shape) * scale).astype(kind)
            if self.chance.random() < 0.1 and values.size:
                values.flat[0] = self.chance.choice((np.nan, np.inf, -np.inf, 0.0))
            return values
        low, high = (-128, 128) if kind == "i1" else (0, 100)
        values = self.numbers.integers(low, high, size=shape).astype(kind)
        return values[::-1] if self.chance.random() < 0.01 else values

    def out(self, kind: str, *shape: int) -> Any:
        array = np.zeros(shape, dtype=kind)
        array.flags.writeable = self.chance.random() > 0.01
        return array if self.chance.random() > 0.02 else self.array(kind, *shape)


def _pieces(extension: Any, given: _Given) -> None:
    vocabulary = [
        "[UNK]",
        *("".join(given.chance.choices("#abcK01é", k=given.size(12))) for _ in range(given.size(60))),
    ]
    pieces = extension.Pieces(
        vocabulary, given.chance.choice(("##", "", "#")), 0, given.chance.choice((1, 5, 100, 255))
    )
    memo: dict[str, object] = {}
    for _ in range(3):
        text = given.text()
        found = pieces.ids(text, memo)
        if isinstance(found, list):
            memo.update((word, bytes(8 * given.size(400))) for word in found)
            found = pieces.ids(text, memo)
        assert isinstance(found, bytes)
        assert len(found) % 8 == 0


def _table(extension: Any, given: _Given) -> None:
    tokens, embedded = given.size(), given.chance.choice((0, 1, 7, 8, 32, 40, 384, 1024, 1025))
    table = extension.Table(given.array("i1", tokens, embedded), given.array("f4", tokens))
    ids = given.numbers.integers(-1, tokens + 1, size=given.size()).astype(np.int64)
    table.embed(ids.tobytes() if given.chance.random() < 0.9 else b"x" * given.size(), given.out("f4", embedded))
    table.embed(np.clip(ids, 0, max(tokens - 1, 0)), given.out("f4", embedded))


def _surface(extension: Any, given: _Given) -> None:
    def strings(most: int) -> tuple[str, ...]:
        return tuple(
            "".join(given.chance.choices("ab(\n`dK ", k=given.size(17))) or "ab" for _ in range(given.size(most))
        )

    codes, phrases = strings(20), strings(12)
    openings = tuple((word, given.chance.randrange(9)) for word in strings(8))
    surface = extension.Surface(given.array("u1", 0x10000) % 20, codes, phrases, openings, 9)
    width = 3 + 15 + 9 + 9 + len(phrases) + 5
    for _ in range(3):
        surface.read(given.text(), given.chance.choice((0, 1, 10**9, -1)), given.out("f4", width))


def _landmarks(given: _Given, count: int, embedded: int) -> tuple[Any, ...]:
    levels = given.chance.choice((0, 1, 127, 128))
    return given.array("f4", embedded), given.array("i1", count, embedded), given.array("f4", count), levels


def _reading(extension: Any, given: _Given) -> None:
    embedded, further, count = given.chance.choice((1, 8, 33, 384)), given.size(), 1 + given.size()
    dense, readings, points = embedded + further + 4, given.chance.choice((1, 2, 9)), 1 + given.size(17)
    reading = extension.Reading(
        *_landmarks(given, count, embedded),
        given.array("f8", dense),
        given.array("f8", dense),
        given.array("f8", dense + count, given.chance.choice((12, 16, 36, 13))),
        given.array("f8", readings),
        np.sort(given.array("f8", points)),
        given.array("f8", points),
        np.zeros((2**15, readings), np.float32),
    )
    context = given.chance.choice((0, 1, 10**6)), 1, given.chance.random() < 0.5, 1
    reading.read(given.text(), given.array("f4", dense - 4), *context, given.out("f4", readings))


def _projection(extension: Any, given: _Given) -> None:
    embedded, further, count = given.chance.choice((1, 8, 33, 384)), given.size(), 1 + given.size()
    width, skills, directions = embedded + further, given.chance.choice((1, 2, 32, 128, 129)), 4 * given.size(16)
    regressors, quantiles = 1 + width + count, 1 + given.size(101)
    projection = extension.Projection(
        *_landmarks(given, count, embedded),
        skills,
        *(given.array("f4", size) for size in (width, width, count, count)),
        given.array("f4", regressors, 2 * skills + -(2 * skills) % 4),
        given.array("f8", regressors),
        given.array("f4", embedded, directions),
        given.array("f8", directions),
        np.sort(given.array("f8", quantiles)),
        given.array("f8", quantiles),
        given.array("f8", 11),
    )
    prompts = given.size(5)
    projection.project(given.array("f4", prompts, width + 9), prompts, given.out("f8", prompts, 6 + skills))
    padded, families = 4 * given.size(8), given.chance.choice((1, 2, 9, 128, 129))
    cards = extension.Cards(
        projection,
        0.1,
        given.array("f8", families, padded),
        given.array("f8", families, padded),
        given.array("f8", skills, padded),
        given.array("f8", 20, padded),
    )
    for prices in (None, given.array("f8", 2, padded)):
        vector = given.array("f4", width + families)
        cards.forecast(
            vector, given.size(), given.chance.choice((np.inf, 0, 50)), 1.0, prices, given.out("f8", 8, padded)
        )


def _choice(extension: Any, given: _Given) -> None:
    cards = given.size()
    quality, weight = given.array("f8", cards), given.chance.uniform(0, 5)
    extension.loss_and_cost(
        quality, given.array("f8", cards), weight, given.chance.uniform(0, 2), given.out("f8", 2, cards)
    )
    parts = tuple(given.array("f8", cards) for _ in range(given.size(4)))
    extension.totals(parts, quality, given.array("f8", cards), weight, given.out("f8", 3, cards))
    extension.first_of(quality, given.array("?", cards), given.out("i8", given.size(70)))
    members = given.size(18)
    columns = [given.array("f8", members).tolist() for _ in range(given.size(4))]
    extension.cascade(
        columns,
        given.array("f8", members).tolist(),
        0.3,
        given.chance.gauss(0, 1),
        weight,
        given.chance.choice((-1.0, 0.5)),
    )


if __name__ == "__main__":
    sys.exit(main())

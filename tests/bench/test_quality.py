"""bench.quality gives the same reports from one process and from several."""

from __future__ import annotations

import argparse
import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.quality import Trial, _cpu_s, _evaluate, _evaluated
from bench.training import write_set
from router.errors import FileError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def arguments(data: Path, processes: int, **others: Any) -> argparse.Namespace:
    plain = {"protocols": ["folds"], "folds": 2, "baselines": "none", "baseline": "none", "draws": 0}
    return argparse.Namespace(data=data, processes=processes, **{**plain, **others})


def write_two_domains(folder: Path, seed: int) -> None:
    """A set of which one domain and then the other is left out; `write_set` makes twelve."""
    write_set(folder, 40, 2, seed)
    file = folder / "prompts.jsonl"
    prompts = [json.loads(line) for line in file.read_text().splitlines()]
    for number, prompt in enumerate(prompts):
        prompt["domain"] = "even" if number % 2 else "odd"
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))


def test_sets_evaluated_at_a_time_have_the_reports_of_one_after_the_other(tmp_path: Path) -> None:
    names = ["larger", "smaller"]
    write_set(tmp_path / "larger", 60, 2, seed=0)
    write_set(tmp_path / "smaller", 30, 2, seed=1)
    one_by_one, at_a_time = (
        [trials["folds"].report for trials in _evaluated(names, arguments(tmp_path, processes))] for processes in (1, 2)
    )
    assert one_by_one == at_a_time
    larger, smaller = one_by_one
    assert larger is not None
    assert smaller is not None
    assert larger.prompts > smaller.prompts


def test_embeddings_are_computed_before_the_fits_and_once_for_both_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULVINAR_CACHE", str(tmp_path / "cache"))
    names, seen = ["one", "two"], tmp_path / "seen"

    @functools.wraps(_evaluate)
    def evaluated(*of: Any) -> Trial:
        written = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "cache").rglob("*.npy"))
        with seen.open("a") as log:
            log.write(f"{written}\n")
        return _evaluate(*of)

    # What is forked has it, too.
    monkeypatch.setattr("bench.quality._evaluate", evaluated)
    for number, name in enumerate(names):
        write_two_domains(tmp_path / name, number)
    before_s = _cpu_s()
    first, *_ = trials = list(
        _evaluated(names, arguments(tmp_path, 2, protocols=["folds", "domain"], baseline="static"))
    )
    assert "embeddings of static" in capsys.readouterr().out
    files = list((tmp_path / "cache" / "embeddings").glob("*.npy"))
    after = sorted((file.name, file.stat().st_mtime_ns) for file in files)
    assert len(files) == len(trials)
    assert seen.read_text().splitlines() == [str(after)] * 2 * len(names)
    assert [trial.report is not None for trial in first.values()] == [True, True]
    # That of the processes is counted, too.
    assert _cpu_s() - before_s > sum(trial.cpu_s for of_set in trials for trial in of_set.values())


def test_every_method_has_its_cpu_time(tmp_path: Path) -> None:
    write_set(tmp_path / "one", 40, 2, seed=0)
    for processes in (1, 2):
        (trials,) = _evaluated(["one"], arguments(tmp_path, processes))
        assert trials["folds"].cpu_s_of["pulvinar"] > 0


def test_the_error_of_a_set_names_its_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_set(tmp_path / name, 30, 2, seed=0)
    (tmp_path / "two" / "scores.csv").write_text("no table")
    with pytest.raises(FileError, match=r"two/scores\.csv"):
        list(_evaluated(["one", "two"], arguments(tmp_path, 2)))

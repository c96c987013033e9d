"""The engines of `score`, `train`, `eval` and `distil`: the same bits here and on a Ray cluster, whatever dies."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.commands import main
from router.errors import CallerError, ConfigurationError, MissingExtraError
from router.learn.data import Prompt, RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.encoder.distil import token_vectors
from router.learn.engine import LOCAL, Engine, open_engine
from router.learn.engine.checkpoints import Checkpoints
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate
from router.learn.evaluation.score import write_scores
from router.learn.training.train import train
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from tests.scale.conftest import ROOT, ray_environment
from tests.scale.units import Squares, refused, runs_of, small_model

pytestmark = [
    pytest.mark.xdist_group("ray"),
    # Ray's own code warns.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of kept units."""
    return tmp_path_factory.mktemp("cache") / "units"


@pytest.fixture(scope="module")
def engine(cluster: str, kept: Path) -> Iterator[Engine]:
    """The cluster's engine; a connection for each test would start the workers again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULVINAR_CACHE", str(kept.parent))
        # A driver of Ray sets both, and leaves them.
        patch.setenv("PYTHONBREAKPOINT", "")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with open_engine(f"ray={cluster}") as one:
                yield one
        finally:
            signal.signal(signal.SIGTERM, handler)
    assert not list(kept.glob("*/*.npz")), "a run that ended well keeps nothing"


@pytest.fixture
def prompts(planted_set: RoutingSet) -> list[Prompt]:
    """Enough prompts for several batches."""
    return [
        msgspec.structs.replace(prompt, id=f"{number}-{prompt.id}", turns=(f"{prompt.turns[0]} ({number})",))
        for number in range(3)
        for prompt in planted_set.prompts
    ]


def test_scores_have_the_same_bits_on_ray(
    engine: Engine, predictor: Predictor, prompts: list[Prompt], tmp_path: Path
) -> None:
    here, there = [tmp_path / f"{name}.csv" for name in ("here", "here-std")], [tmp_path / "a.csv", tmp_path / "b.csv"]
    write_scores(predictor, prompts, *here)
    write_scores(predictor, prompts, *there, engine)
    assert [file.read_bytes() for file in here] == [file.read_bytes() for file in there]


def test_training_gives_the_same_artifact_on_ray(
    engine: Engine, planted_set: RoutingSet, encoder: StaticEncoder, prompts: list[Prompt]
) -> None:
    assert train([planted_set], encoder, engine=engine).id == train([planted_set], encoder).id
    assert vectors_of(prompts, encoder, engine=engine).tobytes() == vectors_of(prompts, encoder).tobytes()


@pytest.mark.parametrize("by", [None, "model"])
def test_an_evaluation_gives_the_same_report_on_ray(
    engine: Engine, planted_set: RoutingSet, encoder: StaticEncoder, by: str | None
) -> None:
    settings = EvaluationSettings(folds=2, by=by, draws=5)
    reports = [evaluate(planted_set, encoder, settings, engine=one) for one in (LOCAL, engine)]
    assert msgspec.json.encode(reports[0]) == msgspec.json.encode(reports[1])


@pytest.mark.slow
def test_distilled_vectors_have_the_same_bits_on_ray(engine: Engine) -> None:
    pytest.importorskip("torch")
    vectors = [token_vectors(small_model, one) for one in (LOCAL, engine)]
    assert vectors[0].shape == (1_100, 8)
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_units_run_on_the_workers_in_the_order_of_the_items(engine: Engine, tmp_path: Path) -> None:
    results = list(engine.map(Squares(str(tmp_path)), range(20), "squares"))
    assert [int(square) for _, square in results] == [number**2 for number in range(20)]
    assert os.getpid() not in {int(process) for (_, process), _ in results}


def test_a_unit_whose_worker_is_killed_runs_again(engine: Engine, tmp_path: Path) -> None:
    results = list(engine.map(Squares(str(tmp_path), deadly=3), range(6), "squares"))
    assert [int(square) for _, square in results] == [0, 1, 4, 9, 16, 25]
    assert runs_of(tmp_path, 3) == 2


def test_after_the_driver_was_killed_the_command_continues(
    cluster: str, engine: Engine, kept: Path, shadow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    environment = ray_environment(shadow) | {"PULVINAR_CACHE": str(kept.parent)}
    # The module has the same name there as here, on which the digest of a unit depends.
    code = "import sys; from tests.scale.units import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, cluster, str(ran)]
    assert subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode == -9
    before = [runs_of(ran, number) for number in (0, 1)]
    results = list(engine.map(Squares(str(ran)), range(6), "squares"))
    assert [int(square) for _, square in results] == [0, 1, 4, 9, 16, 25]
    # The first result is on the disk before the second is asked for.
    assert runs_of(ran, 0) == before[0] == 1
    assert "squares: " in capsys.readouterr().err


def test_an_error_of_a_unit_is_the_error_of_the_command(engine: Engine) -> None:
    with pytest.raises(CallerError, match="0 is not a prompt"):
        list(engine.map(refused, range(2), "refused"))


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pulvinar\[scale\]"), open_engine("ray"):
        pass


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    pytest.importorskip("ray")
    with pytest.raises(ConfigurationError, match=f"ray={address}: no Ray cluster"), open_engine(f"ray={address}"):
        pass


@pytest.mark.parametrize("address", ["http://10.0.0.5:6379", "10.0.0.5:port", ":6379"])
def test_an_address_of_another_form_is_refused_with_the_right_one(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigurationError, match="host:port"), open_engine(f"ray={address}"):
        pass


@pytest.mark.parametrize("name", ["rays", "ray=", "local=2", "dask"])
def test_an_unknown_engine_is_refused(name: str) -> None:
    with pytest.raises(CallerError, match="--engine takes local, ray or ray=ADDRESS"), open_engine(name):
        pass


def test_the_command_line_refuses_an_unknown_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["distil", "--out", str(tmp_path / "encoder"), "--engine", "local=2"])
    assert ended.value.code == CallerError.exit_code
    assert "--engine takes local" in capsys.readouterr().err


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write("unit", "item", (np.arange(3), np.eye(2)))
    stored = checkpoints.read("unit", "item")
    assert stored is not None
    assert [array.tolist() for array in stored] == [[0, 1, 2], [[1, 0], [0, 1]]]
    (tmp_path / "unit" / "item.npz").write_bytes(b"PK\x03\x04 half a file")
    assert checkpoints.read("unit", "item") is None


def test_results_that_another_run_deletes_meanwhile_stop_nothing(tmp_path: Path) -> None:
    # Listed, and not there any more when its age is read.
    (tmp_path / "deleted").symlink_to(tmp_path / "gone")
    Checkpoints(tmp_path).write("unit", "item", (np.arange(3),))
    assert (tmp_path / "unit" / "item.npz").exists()


def test_an_encoder_that_travels_leaves_its_memory_behind(encoder: StaticEncoder) -> None:
    before = pickle.dumps(encoder)
    encoder.encode(["a word that was never seen: quixotry"])
    assert pickle.dumps(encoder) == before
    copy = pickle.loads(before)
    assert copy.encode(["quixotry"]).tobytes() == encoder.encode(["quixotry"]).tobytes()

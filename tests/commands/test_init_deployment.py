"""`route init --docker|--systemd|--helm`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from router import __version__
from router.cards import Catalog
from router.commands import deployment
from tests.commands.conftest import Run
from tests.deploy.tools import DIGEST, NEEDS_TOOLS, helm
from tests.test_docs import problems_of

CARD = """id: mine
provider: openai
model: mine-1
api_key_env: MY_PROVIDER_KEY
"""
LOCAL = "id: near\nprovider: hosted_vllm\nmodel: near\nbase_url: http://127.0.0.1:8000/v1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a user's cards and settings."""
    (tmp_path / "model_cards").mkdir()
    (tmp_path / "model_cards" / "mine.yaml").write_text(CARD)
    (tmp_path / "model_cards" / "near.yaml").write_text(LOCAL)
    (tmp_path / "gateway.yaml").write_text("keepalive: 15s\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_docker_writes_a_compose_file_with_the_users_cards_and_port(folder: Path, run: Run) -> None:
    done = run("init", "out", "--docker", "--port", "9000")
    assert done.code == 0, done.err
    out = folder / "out"
    gateway = yaml.safe_load((out / "compose.yaml").read_text())["services"]["gateway"]
    assert gateway["ports"] == ["127.0.0.1:9000:8686"]
    assert gateway["build"] == {"context": ".", "args": {"VERSION": __version__, "EXTRAS": "${EXTRAS:-}"}}
    assert (out / "config" / "model_cards" / "mine.yaml").read_text() == CARD
    assert (out / "config" / "gateway.yaml").read_text() == "keepalive: 15s\n"
    assert "MY_PROVIDER_KEY=\n" in (out / "providers.env").read_text()
    assert (out / "providers.env").stat().st_mode & 0o777 == 0o600
    assert "docker compose --file out/compose.yaml up" in done.out
    assert "near: base_url is on 127.0.0.1, which is the container itself" in done.out


def test_files_that_end_in_yml_are_deployed_too(folder: Path, run: Run) -> None:
    (folder / "model_cards" / "mine.yaml").rename(folder / "model_cards" / "mine.yml")
    done = run("init", "out", "--docker")
    assert done.code == 0, done.err
    assert (folder / "out" / "config" / "model_cards" / "mine.yml").read_text() == CARD


def test_systemd_writes_a_unit_that_verifies(folder: Path, run: Run) -> None:
    done = run("init", "out", "--systemd", "--port", "9000")
    assert done.code == 0, done.err
    unit = folder / "out" / "pulvinar.service"
    (started,) = (line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    program, *words = started.removeprefix("ExecStart=").split()
    assert program.endswith("/pulvinar")
    assert words[:3] == ["serve", "--port", "9000"]
    assert problems_of(words) == []
    assert "sudo systemctl enable --now pulvinar" in done.out
    assert (folder / "out" / "etc" / "model_cards" / "mine.yaml").exists()
    if shutil.which("systemd-analyze") and Path(program).exists():
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        assert "pulvinar" not in verified.stderr, verified.stderr


def test_a_unit_does_not_start_a_program_that_it_cannot_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    program = tmp_path / "bin" / "pulvinar"
    program.parent.mkdir()
    program.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deployment.sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(deployment, "_HIDDEN_FROM_UNITS", (str(tmp_path),))
    done = run("init", "out", "--systemd")
    assert "ExecStart=/opt/pulvinar/bin/pulvinar serve" in (tmp_path / "out" / "pulvinar.service").read_text()
    assert f"sudo /opt/pulvinar/bin/pip install pulvinar=={__version__}" in done.out


@NEEDS_TOOLS
def test_helm_writes_values_that_the_chart_takes(folder: Path, run: Run) -> None:
    done = run("init", "out", "--helm", "--image", f"registry.example/pulvinar@{DIGEST}")
    assert done.code == 0, done.err
    values = yaml.safe_load((folder / "out" / "values.yaml").read_text())
    text = helm("template", "gw", folder / "out" / "pulvinar", values=values).stdout
    documents = {
        (document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(text) if document
    }
    assert documents["ConfigMap", "gw-pulvinar-cards"]["data"]["mine.yaml"] == CARD
    assert yaml.safe_load(documents["ConfigMap", "gw-pulvinar"]["data"]["gateway.yaml"]) == {"keepalive": "15s"}
    assert "--from-file=out/providers.env" in done.out


def test_helm_without_an_image_says_what_is_missing(folder: Path, run: Run) -> None:
    assert "put the image that you pushed, by digest, into out/values.yaml" in run("init", "out", "--helm").out


@pytest.mark.parametrize("kind", ["--docker", "--systemd", "--helm"])
def test_nothing_is_overwritten_without_force_and_keys_never_are(kind: str, folder: Path, run: Run) -> None:
    assert run("init", "out", kind).code == 0
    secret = folder / "out" / "providers.env"
    secret.write_text("MY_PROVIDER_KEY=sk-1\n")
    other = next(path for path in (folder / "out").iterdir() if path.is_file() and path != secret)
    other.write_text("edited")
    done = run("init", "out", kind)
    assert done.code == 2
    assert "--force to overwrite" in done.err
    assert other.read_text() == "edited"
    assert run("init", "out", kind, "--force").code == 0
    assert other.read_text() != "edited"
    assert secret.read_text() == "MY_PROVIDER_KEY=sk-1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--docker", "--helm"), "choose one"),
        (("--port", "80"), "belong to --docker"),
        (("--docker", "--image", f"x@{DIGEST}"), "--image belongs to --helm"),
        (("--helm", "--image", "registry.example/pulvinar:latest"), "by digest"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: tuple[str, ...], words: str, folder: Path, run: Run
) -> None:
    done = run("init", "out", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (folder / "out").exists()


def test_a_key_that_exists_is_deployed_and_no_other_is_asked_for(folder: Path, run: Run) -> None:
    run("keys", "add", "ci")
    done = run("init", "out", "--docker")
    assert "id: ci" in (folder / "out" / "config" / "keys.yaml").read_text()
    assert "keys add" not in done.out


def test_every_changed_part_of_a_shipped_file_is_still_in_it() -> None:
    """A part that the package's file lacks would be an error, so this fails where one of them is edited."""
    target = deployment.Target(Path("out"), Path(), Catalog(()), 9000)
    assert deployment.docker(target).files
    assert deployment.systemd(target).files

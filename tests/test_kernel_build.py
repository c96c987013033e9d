"""The kernel is compiled where there is a compiler; without one the installation succeeds and says so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.quick_compiler import path_with_quick_compiler

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pulvinar_kernel_build", ROOT / "kernel" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hook needs, with a package of one file."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "kernel", tree / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "hatch_build.py", tree)
    (tree / "router" / "perceive").mkdir(parents=True)
    (tree / "router" / "__init__.py").write_text("")
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "pulvinar"\nversion = "1"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["router"]\n'
        "[tool.hatch.build.targets.wheel.hooks.custom]\n"
    )
    return tree


def wheel_of(tree: Path, out: Path, **environment: str) -> tuple[Path, str]:
    """The wheel that pip builds here, with this environment, and the output of pip."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-v",
        "-w",
        str(out),
        str(tree),
    ]
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "PULVINAR_KERNEL")}
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=True)
    return next(out.glob("*.whl")), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_a_wheel_has_the_compiled_kernel_and_the_tag_of_the_stable_abi(
    tree: Path, tmp_path: Path, build: ModuleType
) -> None:
    wheel, _ = wheel_of(tree, tmp_path, PATH=path_with_quick_compiler(tmp_path / "compiler"))
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert build.digest().encode() in archive.read(f"router/perceive/kernel/{build.name_for(sys.platform)}")
        assert not any(name.startswith("kernel/") for name in archive.namelist())
    assert not list((tree / "router").rglob("_kernel*"))


@pytest.mark.parametrize("compiler", ["", "false"], ids=["none", "one that fails"])
def test_without_a_compiler_that_works_the_wheel_has_no_kernel_and_pip_says_so(
    compiler: str, tree: Path, tmp_path: Path
) -> None:
    path = str(tmp_path / "nothing")
    wheel, output = wheel_of(tree, tmp_path / "out", PATH=path, **({"CC": compiler} if compiler else {}))
    assert wheel.name.endswith("-none-any.whl")
    assert "without its compiled kernel" in output


def test_a_tree_that_cannot_be_written_is_a_reason_to_go_without_kernel(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if build.unsupported():
        pytest.skip("no kernel for this Python")
    monkeypatch.setenv("CC", "true")
    monkeypatch.setattr(build, "compiler_package", lambda: None)
    (tmp_path / "file").write_text("")
    with pytest.raises(build.BuildError, match="File exists"):
        build.built(tmp_path / "file" / "_kernel.abi3.so")


def test_nothing_that_was_compiled_is_in_the_repository() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    listed = ["git", "ls-files", "*.so", "*.pyd", "*.dylib", "*.o"]
    assert subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout == ""


def test_the_compiler_as_a_package_is_asked_for_only_where_there_is_none(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.KernelHook.__new__(module.KernelHook)
    monkeypatch.setattr(module.KernelHook, "root", property(lambda _: str(ROOT)))
    monkeypatch.setattr(module.KernelHook, "target_name", property(lambda _: "wheel"))
    monkeypatch.delenv("PULVINAR_KERNEL", raising=False)
    monkeypatch.setenv("CC", "cc")
    assert hook.dependencies() == []
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert hook.dependencies() == ([] if build.unsupported() else [build.ZIGLANG])
    monkeypatch.setenv("PULVINAR_KERNEL", "off")
    assert hook.dependencies() == []

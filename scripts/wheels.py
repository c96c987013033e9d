"""Build the wheel of every platform with the compiler of the package `ziglang`, into `dist`, and check each.

    python scripts/wheels.py [TAG …]

Needs hatchling and ziglang (`kernel/build.py` names the version). Checked are the tag, what the extension exports and
needs, and on this machine that it can be imported and computes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
MOST_GLIBC = 17
TARGETS = {
    "manylinux_2_17_x86_64": ("x86_64-linux-gnu.2.17", "linux"),
    "manylinux_2_17_aarch64": ("aarch64-linux-gnu.2.17", "linux"),
    "musllinux_1_2_x86_64": ("x86_64-linux-musl", "linux"),
    "musllinux_1_2_aarch64": ("aarch64-linux-musl", "linux"),
    "macosx_11_0_x86_64": ("x86_64-macos.11.0", "darwin"),
    "macosx_11_0_arm64": ("aarch64-macos.11.0", "darwin"),
    "win_amd64": ("x86_64-windows-gnu", "win32"),
}
_PROBE = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from router.perceive import kernel
from router.loading import load_predictor
assert kernel.extension() is not None, kernel.status()
text = "Is 17 * 23 = 391?\\n(A) yes (B) n\\u00f6"
predictor = load_predictor()
with kernel.without_extension():
    # A copy binds its arrays anew.
    specified = pickle.loads(pickle.dumps(predictor))
assert predictor.vectors([(text,)]).tobytes() == specified.vectors([(text,)]).tobytes()
print(kernel.status())
"""


def main() -> int:
    """Build and check the wheels of these tags, all by default."""
    build = _build_module()
    for tag in sys.argv[1:] or list(TARGETS):
        triple, system = TARGETS[tag]
        environment = {**os.environ, "PULVINAR_TARGET": f"{triple}:{system}:{tag}"}
        before = set((ROOT / "dist").glob("*.whl"))
        for wheel in before:
            if wheel.stem.endswith(tag):
                wheel.unlink()
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        wheel = next((ROOT / "dist").glob(f"*-cp311-abi3-{tag}.whl"))
        print(f"{wheel.name}: {check(wheel, system, build)}")
    return 0


def check(wheel: Path, system: str, build: ModuleType) -> str:
    """What was found, in words. Raises AssertionError for a wheel that must not be published."""
    with zipfile.ZipFile(wheel) as archive:
        member = f"router/perceive/kernel/{build.name_for(system)}"
        content = archive.read(member)
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        tag = wheel.stem.split("-", 2)[2]
        assert f"Tag: {tag}" in archive.read(metadata).decode(), tag
        assert b"PyInit__kernel" in content
        assert build.digest().encode() in content
        if system != "linux":
            return "built; cannot run here"
        exported, needed = symbols(content)
        assert exported == {"PyInit__kernel"}, exported
        foreign = {name for name in needed if name.startswith(("Py", "_Py"))} - build.python_names()
        assert not foreign, foreign
        versions = [int(version) for version in re.findall(rb"GLIBC_2\.(\d+)", content)]
        assert max(versions, default=0) <= MOST_GLIBC, versions
        found = f"exports {', '.join(exported)}; glibc 2.{max(versions)}" if versions else "no glibc"
        machine = os.uname().machine
        if not tag.endswith(machine) or "musl" in tag:
            return f"{found}; cannot run here"
        with tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, folder], cwd=folder, check=True, capture_output=True, text=True
            )
        return f"{found}; imported: {done.stdout.strip()}"


def symbols(content: bytes) -> tuple[set[str], set[str]]:
    """The names that a shared object of 64 bits exports, and those that it needs."""
    assert content[:6] == b"\x7fELF\x02\x01"
    at, size, count = *struct.unpack_from("<Q", content, 40), *struct.unpack_from("<HH", content, 58)
    sections = [struct.unpack_from("<IIQQQQII", content, at + size * index) for index in range(count)]
    dynamic = next(section for section in sections if section[1] == 11)
    names = sections[dynamic[6]][4]
    exported, needed = set(), set()
    for offset in range(dynamic[4] + 24, dynamic[4] + dynamic[5], 24):
        name, info, other, section = struct.unpack_from("<IBBH", content, offset)
        text = content[names + name : content.index(b"\0", names + name)].decode()
        if section == 0:
            needed.add(text)
        elif info >> 4 and other & 3 in (0, 3):
            exported.add(text)
    return exported, needed


def _build_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pulvinar_kernel_build", ROOT / "kernel" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())

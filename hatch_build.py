"""Build hook: compile the kernel into the wheel, or into the source tree for an editable installation.

Where neither the machine nor the package `ziglang` has a compiler that works, the installation succeeds without it, and
`route doctor` says so. `PULVINAR_KERNEL=off` leaves it out, `PULVINAR_KERNEL=required` makes its absence an error.
`PULVINAR_TARGET=TRIPLE:SYSTEM:TAG` compiles for another platform (`scripts/wheels`).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = "router/perceive/kernel"


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled kernel to a wheel."""

    def dependencies(self) -> list[str]:
        """The compiler as a package, where this machine has none."""
        build = _module(self.root)
        wanted = self._wanted() and not build.unsupported() and (_target() or build.compiler() is None)
        return [build.ZIGLANG] if wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; `version` is `standard` or `editable`."""
        if not self._wanted():
            return
        build = _module(self.root)
        target = _target()
        system = target[1] if target else sys.platform
        self._folder = tempfile.TemporaryDirectory()
        is_editable = version == "editable"
        out = Path(self.root if is_editable else self._folder.name, _FOLDER, build.name_for(system))
        try:
            if target:
                command = build.compiler_package()
                if command is None:
                    raise build.BuildError(f"cross-building needs {build.ZIGLANG}")
                build.compiled(out, command, system, ("-target", target[0], *build.link_flags(system, out.parent)))
            else:
                build.built(out)
        except build.BuildError as error:
            if target or os.environ.get("PULVINAR_KERNEL") == "required":
                raise
            self.app.display_warning(f"pulvinar is installed without its compiled kernel: {error}")
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{target[2] if target else platform}"
        if not is_editable:
            build_data["force_include"][str(out)] = f"{_FOLDER}/{out.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled outside the tree."""
        if (folder := getattr(self, "_folder", None)) is not None:
            folder.cleanup()

    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("PULVINAR_KERNEL") != "off"


def _target() -> tuple[str, str, str] | None:
    """Triple, system and tag of another platform."""
    stated = os.environ.get("PULVINAR_TARGET")
    if not stated:
        return None
    triple, system, tag = stated.split(":")
    return triple, system, tag


def _module(root: str) -> ModuleType:
    """`kernel/build.py`, which is in no package."""
    spec = importlib.util.spec_from_file_location("pulvinar_kernel_build", Path(root) / "kernel" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

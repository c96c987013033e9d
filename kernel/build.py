"""Compile the kernel (`module.c`): with the compiler of this machine, else with that of the package `ziglang`.

`python kernel/build.py` builds it into the source tree, where an editable installation finds it. `hatch_build.py` calls
it for wheels, and `scripts/wheels` for other platforms. Nothing but the standard library is needed, and no header of
Python (`python.h` declares what is used).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
IN_TREE = SOURCES.parent / "router" / "perceive" / "kernel"
ZIGLANG = "ziglang==0.17.1"
"""The compiler as a package, for machines without one (MIT licence). Another version may give other bits."""

FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-g0"),
    # Each product and each sum is rounded on its own, on every machine.
    *("-ffp-contract=off", "-fno-fast-math", "-fno-math-errno"),
    # A function without a declaration would return half of a pointer.
    *("-Werror=implicit-function-declaration", "-Werror=int-conversion"),
    # Vectors are never passed to a function; one compiler's analysis does not see that arrays are written.
    *("-Wall", "-Wextra", "-Wno-psabi", "-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"),
)


class BuildError(Exception):
    """Why there is no kernel."""


def digest() -> str:
    """A hash of the sources, which the extension contains."""
    sources = sorted(SOURCES.rglob("*.[ch]"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()[:16]


def unsupported() -> str | None:
    """Why the kernel cannot be used with this Python; None where it can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has no stable ABI"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "the stable ABI is not that of a free-threaded Python"
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64") or sys.maxsize < 2**32:
        return f"not for {platform.machine()}"
    return None


def compiler() -> list[str] | None:
    """The command of this machine's compiler; None where there is none."""
    if stated := os.environ.get("CC"):
        return shlex.split(stated)
    for name in ("clang",) if sys.platform == "win32" else ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    return None


def compiler_package() -> list[str] | None:
    """The command of the compiler of `ziglang`; None where it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]


def name_for(system: str) -> str:
    """The name of the extension's file on `linux`, `darwin` or `win32`."""
    return "_kernel.pyd" if system == "win32" else "_kernel.abi3.so"


def compiled(out: Path, command: list[str], system: str = sys.platform, further: tuple[str, ...] = ()) -> None:
    """Compile to `out` with this command. Raises BuildError with the output of the compiler."""
    at_end = {"darwin": ("-undefined", "dynamic_lookup"), "win32": ()}.get(system, ("-lm",))
    source = f'-DPULVINAR_SOURCES="{digest()}"'
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / out.name
        whole = [*command, *FLAGS, source, str(SOURCES / "module.c"), "-o", str(made), *further, *at_end]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildError(f"{command[0]}: {error.strerror}") from None
        if done.returncode:
            raise BuildError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
        out.parent.mkdir(parents=True, exist_ok=True)
        # Replaced at once: a running process keeps the file that it has mapped.
        staged = out.with_name(f".{out.name}.{os.getpid()}")
        shutil.copyfile(made, staged)
        staged.replace(out)


def link_flags(system: str, folder: Path) -> tuple[str, ...]:
    """What the linker needs for another platform: for Windows a list of what `python3.dll` has, made in `folder`.
    Raises BuildError.
    """
    if system != "win32":
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    definitions, library = folder / "python3.def", folder / "libpython3.a"
    names = python_names()
    data = {name for name in names if name.startswith(("PyExc_", "_Py"))}
    lines = [f"{name} DATA" if name in data else name for name in sorted(names)]
    definitions.write_text("\n".join(("LIBRARY python3.dll", "EXPORTS", *lines, "")))
    machine = ("-m", "i386:x86-64", "-d", str(definitions), "-l", str(library))
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "dlltool", *machine], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"dlltool failed:\n{done.stderr[-2000:]}")
    return (str(library),)


def python_names() -> frozenset[str]:
    """The names of Python's stable ABI that the extension may use."""
    declared = re.findall(r"^PY_API (.*);$", (SOURCES / "python.h").read_text(), re.MULTILINE)
    return frozenset(name for line in declared for name in re.findall(r"\b(_?Py\w+)(?=\(|,|$)", line))


def built(out: Path) -> str:
    """Compile the kernel for this machine to `out`; returns the compiler's command. Raises BuildError."""
    if reason := unsupported():
        raise BuildError(reason)
    problems = []
    for command in filter(None, (compiler(), compiler_package())):
        try:
            compiled(out, command)
            _check(out)
        except BuildError as error:
            problems.append(str(error))
        except OSError as error:
            # A tree, or a temporary folder, that cannot be written.
            problems.append(f"{error.filename or out}: {error.strerror}")
        else:
            return shlex.join(command)
    raise BuildError("\n".join(problems) or f"there is no C compiler (cc, gcc, clang), nor the package {ZIGLANG}")


def _check(extension: Path) -> None:
    """Raise BuildError unless this Python can load the extension and it has these sources."""
    script = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('_kernel', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.SOURCES)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(extension)], capture_output=True, text=True, check=False)
    if done.stdout.strip() != digest():
        extension.unlink(missing_ok=True)
        raise BuildError(f"what was compiled cannot be loaded: {done.stderr[-500:]}")


def main() -> int:
    """Build into the source tree."""
    out = IN_TREE / name_for(sys.platform)
    try:
        command = built(out)
    except BuildError as error:
        sys.stderr.write(f"no compiled kernel: {error}\n")
        return 1
    sys.stdout.write(f"{out} (with {command})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

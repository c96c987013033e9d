"""The compiled kernel under AddressSanitizer and UBSan: `bench.kernel_fuzz` for a few seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not (shutil.which("gcc") or shutil.which("clang")), reason="no compiler")
def test_random_arguments_are_computed_or_refused_without_a_wrong_access_to_memory() -> None:
    command = [sys.executable, "-m", "bench.kernel_fuzz", "--seconds", "4"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no findings" in done.stdout

"""Large blocks of memory go back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Frees a large block first: glibc then takes such blocks from its heap. Some between them remain.
_SCRIPT = """
from pathlib import Path
from router.gateway.server.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert return_large_blocks()
before = resident()
bytes(30_000_000)
blocks = [(bytearray(10_000_000), bytearray(100_000)) for _ in range(10)]
for large, _ in blocks:
    large[:] = bytes(len(large))
kept = [small for _, small in blocks]
del blocks, large, _
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a parameter of glibc")
def test_large_blocks_are_returned_although_small_ones_remain() -> None:
    grown = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 10_000_000

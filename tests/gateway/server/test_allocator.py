"""Large blocks of memory go back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Frees large blocks first, after which glibc would keep such blocks in its heap, then some behind which others remain.
_SCRIPT = """
from pathlib import Path
from router.gateway.server.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert return_large_blocks()
before = resident()
for _ in range(2):
    blocks = [(bytearray(b"x" * 20_000_000), bytearray(b"y" * 2000)) for _ in range(10)]
    kept = [small for _, small in blocks]
    del blocks
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a parameter of glibc")
def test_large_blocks_are_returned_although_small_ones_remain() -> None:
    grown = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 10_000_000

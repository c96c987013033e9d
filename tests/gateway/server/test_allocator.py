"""Large blocks of memory go back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

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


# The kernel decides how much of it becomes huge pages; none of what was there may be lost, and it must not grow.
_HUGE = """
from pathlib import Path
from router.gateway.server.allocator import use_huge_pages

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kept = [[str(number)] for number in range(200_000)]
before = resident()
advised = use_huge_pages()
assert all(each == [str(number)] for number, each in enumerate(kept))
print(advised, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an advice to Linux")
def test_what_is_held_is_moved_to_huge_pages_and_takes_no_more_memory() -> None:
    shown = subprocess.run([sys.executable, "-c", _HUGE], capture_output=True, text=True, check=True).stdout
    advised, grown = map(int, shown.split())
    assert advised > 10_000_000 or not Path("/sys/kernel/mm/transparent_hugepage").exists()
    assert grown < 8_000_000

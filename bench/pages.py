"""Tables of a benchmark in a page of the documentation, between two markers."""

from __future__ import annotations

from pathlib import Path

from router.errors import ConfigurationError


def markers(section: str) -> tuple[str, str]:
    """The lines before and after what a benchmark writes, such as `bench.credible`."""
    return f"<!-- {section}: start -->", f"<!-- {section}: end -->"


def write_between_markers(file: Path, section: str, text: str) -> None:
    """Replace what stands between the markers of a page. Raises ConfigurationError where they are missing."""
    first, last = markers(section)
    before, start, rest = file.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not (start and end):
        raise ConfigurationError(f"{file} has no lines {first} and {last}")
    file.write_text(f"{before}{first}\n\n{text.strip()}\n\n{last}{after}", encoding="utf-8")

from __future__ import annotations

import pytest

from tests.deploy.tools import NEEDS_TOOLS, ROOT, hadolint


@NEEDS_TOOLS
@pytest.mark.parametrize("name", ["Dockerfile", "release.Dockerfile"])
def test_hadolint_finds_nothing_in_the_dockerfiles(name: str) -> None:
    done = hadolint(ROOT / "deploy" / name)
    assert done.returncode == 0, done.stdout

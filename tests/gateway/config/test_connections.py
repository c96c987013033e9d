from __future__ import annotations

from pathlib import Path

import pytest

from router.cards.catalog import Catalog
from router.decide.policy import Policies
from router.errors import ConfigurationError
from router.gateway.config.gateway_yaml import load_config


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("  head: 100B", "head: must be from 4KiB to 1MiB"),
        ("  head_time: 100ms", "head_time: must be from 1s to 1h"),
        ("  idle: 2h", "idle: must be from 1s to 1h"),
        ("  total: 0", "connections.total"),
        ("  per_adress: 5", 'did you mean "per_address"'),
    ],
)
def test_a_mistake_in_connections_is_named(tmp_path: Path, lines: str, problem: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"connections:\n{lines}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, Catalog([]), Policies([]))
    assert str(caught.value).startswith(f"{file}:")
    assert problem in str(caught.value)

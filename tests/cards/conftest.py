import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.cards.sources import litellm_map


@pytest.fixture
def a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a package folder with the given entries where litellm's is looked for."""
    caches = (litellm_map._entries, litellm_map._providers, litellm_map.entry_names)

    def install(entries: dict[str, dict[str, Any]]) -> None:
        package = tmp_path / "litellm"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / litellm_map._FILE).write_bytes(msgspec.json.encode(entries))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "litellm", raising=False)
        for cache in caches:
            cache.cache_clear()

    yield install
    for cache in caches:
        cache.cache_clear()

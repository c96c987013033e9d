from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import ConfigurationError
from router.gateway.config.keys import hash_of
from router.gateway.config.sources import Sources

BASE = "id: base\nprovider: hosted_vllm\nmodel: m\nbase_url: http://127.0.0.1:1/v1\n"
ADAPTER = "id: sql\nprovider: hosted_vllm\nmodel: sql\nkind: adapter\nbase: base\ntenant: acme\n"


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    for folder in ("cards", "policies"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cards" / "base.yaml").write_text(BASE)
    (tmp_path / "cards" / "sql.yaml").write_text(ADAPTER)
    (tmp_path / "policies" / "default.yaml").write_text("id: default\ndescription: d\ngoals: {cheapest: 1}\n")
    return Sources(
        tmp_path / "cards",
        tmp_path / "policies",
        tmp_path / "evidence",
        tmp_path / "gateway.yaml",
        tmp_path / "keys.yaml",
    )


def keys(sources: Sources, *ids: str) -> None:
    entries = [f"  - id: {id_}\n    hash: {hash_of(id_)}\n" for id_ in ids]
    sources.keys.write_text("keys:\n" + "".join(entries))


def test_the_tenant_of_a_card_is_a_key(sources: Sources) -> None:
    keys(sources, "acme", "bob")
    read = sources.read()
    by_id = {key.id: key for key in read.keys}
    assert read.keys.hidden(by_id["bob"]) == {"sql"}
    assert read.keys.hidden(by_id["acme"]) == set()
    assert [name for name in ("acme", "bob") if read.keys.allows(by_id[name], "sql")] == ["acme"]


def test_a_list_of_cards_still_limits_the_tenant(sources: Sources) -> None:
    sources.keys.write_text(f"keys:\n  - id: acme\n    hash: {hash_of('acme')}\n    cards: [base]\n")
    read = sources.read()
    assert not read.keys.allows(read.keys[0], "sql")


@pytest.mark.parametrize(
    ("ids", "hint"),
    [
        (("acmee", "bob"), '; did you mean "acmee"?'),
        (("bob",), "; add it with route keys add acme"),
        ((), "; add it with"),
    ],
)
def test_a_tenant_that_is_no_key_is_reported_with_file_and_line(
    sources: Sources, ids: tuple[str, ...], hint: str
) -> None:
    if ids:
        keys(sources, *ids)
    with pytest.raises(ConfigurationError) as caught:
        sources.read()
    assert f'sql.yaml:6: tenant: there is no key "acme" in {sources.keys}{hint}' in str(caught.value)

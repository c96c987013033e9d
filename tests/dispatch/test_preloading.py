"""litellm is imported before the first call that needs it, off the event loop."""

from __future__ import annotations

import threading

import pytest

from router.cards import Card
from router.dispatch import Dispatcher, litellm_client
from tests.gateway.servers import gateway_server, make_card


class Imports:
    """Stands for the import of litellm, which takes seconds, and records the threads in which it happens."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun = threading.Event()

    def load(self) -> object:
        self.threads.append(threading.current_thread())
        self.begun.set()
        return self


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Imports:
    imports = Imports()
    monkeypatch.setattr(litellm_client, "_load", imports.load)
    monkeypatch.setenv("CLAUDE_KEY", "sk-x")
    return imports


def claude(**facts: str) -> Card:
    return make_card("claude", "http://127.0.0.1:9", provider="anthropic", **{"api_key_env": "CLAUDE_KEY", **facts})


def test_litellm_is_imported_once_in_a_thread_of_its_own(imports: Imports) -> None:
    dispatcher = Dispatcher()
    dispatcher.preload([claude()])
    dispatcher.preload([claude()])
    assert imports.begun.wait(5)
    assert [thread.daemon for thread in imports.threads] == [True]


def test_cards_that_are_relayed_need_no_litellm(imports: Imports) -> None:
    Dispatcher().preload([make_card("a", "http://127.0.0.1:9")])
    assert not imports.begun.is_set()


def test_a_gateway_imports_it_without_a_request(imports: Imports) -> None:
    with gateway_server(claude()):
        assert imports.begun.wait(5)


def test_a_gateway_whose_cards_cannot_be_called_does_not_import_it(imports: Imports) -> None:
    with gateway_server(claude(api_key_env="NO_SUCH_KEY"), make_card("a", "http://127.0.0.1:9")):
        pass
    assert not imports.begun.is_set()

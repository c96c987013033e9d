"""`/openapi.json`, tested by schemathesis: no 5xx, and responses that match their description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import msgspec
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from router.gateway.endpoints.apidoc.document import openapi_document
from router.store.backend import FolderBackend
from router.store.records.journal import Journal
from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card
from tests.faults.upstream import fault_upstream
from tests.gateway.servers import gateway_server

EXAMPLES = 30
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOCUMENT = msgspec.to_builtins(openapi_document(keyed=False, open_metrics=True))
# Its pytest plugin does not support the newest pytest.
RESULTS = list(schemathesis.openapi.from_dict(DOCUMENT).get_all_operations())
OPERATIONS = [result.ok() for result in RESULTS if isinstance(result, Ok)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, fault_upstream() as upstream:
        patch.setenv(KEY_VARIABLE, KEY)
        # No record of an unknown id will come; it is looked for as often as otherwise.
        patch.setattr("router.gateway.endpoints.feedback._PAUSE_S", 0.01)
        apis = ("chat", "completions", "embeddings", "messages")
        capabilities = ("tools", "json_schema", "reasoning", "logprobs")
        folder = tmp_path_factory.mktemp("store")
        parts: dict[str, Any] = {"backend": FolderBackend(folder), "journal": Journal.open(folder)}
        card = fault_card("one", upstream.url, "ok", apis=apis, capabilities=capabilities)
        with gateway_server(card, **parts) as url:
            yield url


def test_the_document_can_be_read() -> None:
    assert len(OPERATIONS) == len(RESULTS) > 10


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_matches_its_description(gateway: str, operation: Any) -> None:
    @hypothesis.given(operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def check(case: Any) -> None:
        case.validate_response(case.call(base_url=gateway), checks=CHECKS)

    check()

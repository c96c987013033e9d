"""Who is an operator."""

from __future__ import annotations

from router.errors import PermissionDeniedError
from router.gateway.endpoints.keyed import Entry


def check_operator(entry: Entry) -> None:
    """Raise PermissionDeniedError unless the request's key is an operator's; without keys, every visitor is one."""
    request = entry.request
    if not request.active.keys.may_operate(request.key):
        name = "" if request.key is None else f' "{request.key.id}"'
        raise PermissionDeniedError(
            f"the key{name} is no operator's; the operator can add `operator: true` to a key in keys.yaml"
        )

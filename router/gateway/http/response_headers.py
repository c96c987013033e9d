"""The headers that the gateway adds to responses, once: for the OpenAPI document, and for web pages, which may read
named headers only. By name, the JSON type of the value and a description.
"""

from __future__ import annotations

from collections.abc import Mapping

_Headers = Mapping[str, tuple[str, str]]

ID_HEADERS: _Headers = {
    "x-request-id": (
        "string",
        "The id of the request in the log, the traces and the records; the client's own if it is valid.",
    ),
    "request-id": ("string", "The same id, under the name that Anthropic's clients read."),
}
RETRY_HEADERS: _Headers = {
    "retry-after": ("integer", "Seconds to wait before a retry."),
    "retry-after-ms": ("number", "Milliseconds to wait before a retry, where the upstream states them."),
    "x-should-retry": ("string", "`false` where a retry cannot help."),
}
ROUTE_HEADERS: _Headers = {
    "x-route-card": (
        "string",
        "The card that answered. The `x-route-…` headers are sent where the policy has `headers: on`.",
    ),
    "x-route-policy": ("string", "The policy that chose the card."),
    "x-route-quality": ("number", "The forecast quality of this card, from 0 to 1."),
    "x-route-cost-usd": ("number", "The cost of the request in US dollars; for a stream, the forecast cost."),
    "x-route-plan": ("string", "The plan that answered, such as `plan/cheap-first`."),
    "x-route-calls": ("integer", "How many calls the plan had made when the response began."),
    "x-route-degraded": ("string", "In one word, why the answer is less than was planned, such as `deadline`."),
    "x-route-dropped": (
        "string",
        "The fields of the request that the model's server does not support, and that were left out or limited. Sent "
        "whatever the policy's `headers`.",
    ),
    "x-route-experiment": ("string", "The experiment that the request is part of, and its arm after a slash."),
    "x-route-explored": (
        "string",
        "Where another card answers than the choice, to learn: how probable that was, and the choice.",
    ),
    "x-route-overhead-ms": ("number", "Milliseconds that the gateway took before it called the upstream."),
}
RESPONSE_HEADERS: _Headers = {**ID_HEADERS, **RETRY_HEADERS, **ROUTE_HEADERS}

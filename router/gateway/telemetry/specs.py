"""Names, help texts, labels and buckets of the metrics that are counted from records."""

from __future__ import annotations

from msgspec import Struct

# As OpenTelemetry's GenAI conventions advise for durations and first tokens, with longer buckets added.
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
_FIRST_TOKEN_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
_OVERHEAD_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)
_QUALITY = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class MetricSpec(Struct, frozen=True):
    """Name, help text and labels of a metric. Prometheus adds `_total` to a counter's name."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


COUNTERS = {
    spec.name: spec
    for spec in (
        MetricSpec("pulvinar_requests", "Requests completed.", ("surface", "card", "policy", "status")),
        MetricSpec("pulvinar_tokens", "Tokens used, as reported by the upstreams.", ("card", "direction")),
        MetricSpec("pulvinar_cached_input_tokens", "Input tokens read from a prompt cache.", ("card",)),
        MetricSpec("pulvinar_cost_usd", "Cost in US dollars.", ("card", "key")),
        MetricSpec("pulvinar_streams_broken", "Streams that ended with an error after their start.", ("card",)),
        MetricSpec("pulvinar_upstream_attempts", "Calls to upstreams; fault is empty on success.", ("card", "fault")),
        MetricSpec("pulvinar_decisions", "Routing decisions.", ("policy", "guard")),
        MetricSpec(
            "pulvinar_canary_requests",
            "Requests of which a canary takes a share; taken is yes or no.",
            ("card", "of", "taken"),
        ),
        MetricSpec(
            "pulvinar_explored",
            "Decisions of policies that explore; result is explored, not_drawn, refused (no money) or prevented.",
            ("policy", "result"),
        ),
        MetricSpec(
            "pulvinar_shadow_requests",
            "Requests that were to be answered in a shadow, too: compared, or why not.",
            ("policy", "result"),
        ),
        MetricSpec("pulvinar_experiment_requests", "Requests that are part of an experiment.", ("experiment", "arm")),
        MetricSpec(
            "pulvinar_judgements",
            "Judgements of answers, by who judged and the result: learned, or why not.",
            ("kind", "result"),
        ),
        MetricSpec(
            "pulvinar_judge_answers",
            "Answers that a card was to judge, by the judge and the result: judged, or why not.",
            ("card", "result"),
        ),
        MetricSpec("pulvinar_judge_cost_usd", "Cost of verdicts in US dollars.", ("card",)),
        MetricSpec("pulvinar_adapter_hits", "Calls that found their adapter loaded, or being loaded.", ("server",)),
        MetricSpec("pulvinar_adapter_loads", "Adapters loaded.", ("server",)),
        MetricSpec("pulvinar_adapter_evictions", "Adapters unloaded for others.", ("server",)),
        MetricSpec("pulvinar_adapter_waits", "Times that an adapter found no free slot.", ("server",)),
        MetricSpec("pulvinar_adapter_failures", "Loads and unloads that failed.", ("server",)),
        MetricSpec("pulvinar_adapter_load_seconds", "Time that loads took.", ("server",)),
    )
}
GAUGES = {
    spec.name: spec
    for spec in (
        MetricSpec("pulvinar_adapters_resident", "Adapters that a server holds.", ("server",)),
        MetricSpec("pulvinar_adapter_slots", "Adapters that a server can hold at once.", ("server",)),
    )
}
HISTOGRAMS = {
    spec.name: spec
    for spec in (
        MetricSpec("pulvinar_request_duration_seconds", "Time to the last byte.", ("surface", "card"), _DURATION_S),
        MetricSpec(
            "pulvinar_time_to_first_token_seconds", "Time to the first content token.", ("card",), _FIRST_TOKEN_S
        ),
        MetricSpec("pulvinar_overhead_seconds", "Time in the gateway before the first upstream call.", (), _OVERHEAD_S),
        MetricSpec("pulvinar_forecast_quality", "Forecast quality of the chosen card.", ("policy",), _QUALITY),
        MetricSpec("pulvinar_feedback_value", "Feedback about answers, from 0 to 1.", ("card",), _QUALITY),
    )
}

"""The dashboard's queries and the alerts, asked of a real Prometheus that scrapes a real gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from bench.gateway.processes import Start, free_port, running
from router.gateway.telemetry.metrics import GAUGES
from tests.deploy.tools import CHART
from tests.faults.conftest import upstream
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import send
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for
from tests.redis_server import needs_redis, redis_server

__all__ = ["upstream"]

HERE = Path(__file__).parent
MONITORING = CHART / "monitoring"
pytestmark = [
    pytest.mark.xdist_group("prometheus"),
    needs_redis,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus: scripts/system installs it"),
]
PANELS = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]
DASHBOARD = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
RULES = [
    rule["expr"]
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
# What only servers of adapters, canaries, broken streams and prompt caches fill.
EMPTY_WITHOUT = re.compile(
    r"pulvinar_(adapter|adapters|canary|streams_broken|cached_input|shadow|experiment|explored|judge)_"
)


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[dict[str, object]]:
        """The samples of an expression now, with Grafana's variables filled in."""
        text = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
        answer = self._client.get("/api/v1/query", params={"query": text}).json()
        assert answer["status"] == "success", (text, answer)
        result: list[dict[str, object]] = answer["data"]["result"]
        return result

    def families(self) -> dict[str, str]:
        """The metrics that the gateway declares, also those without samples, and their types."""
        data = self._client.get("/api/v1/metadata").json()["data"]
        types = {name: str(entries[0]["type"]) for name, entries in data.items()}
        # OpenMetrics declares a counter without the end of its name.
        return {f"{name}_total" if kind == "counter" else name: kind for name, kind in types.items()}

    def samples_of(self, name: str) -> float:
        """How often a series was scraped."""
        found = self.query(f"max(count_over_time({name}[5m]))")
        return float(found[0]["value"][1]) if found else 0.0  # type: ignore[index]


@pytest.fixture(scope="module")
def prometheus(
    upstream: Upstream, warm: Callable[[Start], Start], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a gateway with its state in Redis, in front of a good and a failing server, with
    feedback.
    """
    folder = tmp_path_factory.mktemp("prometheus")
    cards = [
        fault_card("good", upstream.url, "ok", price=2.0),
        fault_card("bad", upstream.url, "server-error", price=1.0),
    ]
    with (
        redis_server() as redis,
        served(warm(route_serve(folder / "gateway", cards, arguments=("--state", redis.url)))) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):

        def ask() -> None:
            answer = send(client, "openai", "auto", False)
            assert answer.status == 200
            identifier = answer.headers["x-request-id"]
            assert client.post("/v1/feedback", json={"id": identifier, "value": 0.5}).status_code == 200
            assert send(client, "openai", "bad", False).status >= 500

        ask()
        scrape = {"job_name": "pulvinar", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(MONITORING / "alerts.yaml")],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        port = free_port()
        command = ("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
        own = Start((*command, f"--web.listen-address=127.0.0.1:{port}"), folder, port, ("/-/ready",))
        with (
            running(own, folder / "prometheus.log"),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as api,
        ):
            prometheus = Prometheus(api)
            assert wait_for(lambda: prometheus.samples_of("pulvinar_overhead_seconds_count") >= 2, 30)
            seen = prometheus.samples_of("pulvinar_overhead_seconds_count")
            ask()
            assert wait_for(lambda: prometheus.samples_of("pulvinar_overhead_seconds_count") >= seen + 3, 30)
            yield prometheus


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names, without those of recording rules, whose names have colons."""
    without_labels = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"(?<![:\w])(?:pulvinar|process)_\w+(?![:\w])", without_labels))


@pytest.mark.parametrize("expression", [*DASHBOARD, *RULES])
def test_every_query_is_valid_and_names_metrics_that_the_gateway_has(expression: str, prometheus: Prometheus) -> None:
    prometheus.query(expression)
    families = prometheus.families()
    for name in metrics_in(expression):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        # The gauges of adapters are declared once there is a server of adapters.
        assert name in families or families.get(base) == "histogram" or name in GAUGES, name


@pytest.mark.parametrize("expression", [query for query in DASHBOARD if not EMPTY_WITHOUT.search(query)])
def test_every_panel_shows_something_after_traffic(expression: str, prometheus: Prometheus) -> None:
    assert prometheus.query(expression) != []


def test_the_queries_name_a_good_part_of_the_metrics(prometheus: Prometheus) -> None:
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for query in (*DASHBOARD, *RULES) for name in metrics_in(query)}
    own = {name for name in prometheus.families() if name.startswith("pulvinar_")}
    # Names and values of builds and hit rates are looked up where they are needed.
    assert own - named <= {"pulvinar_build", "pulvinar_build_info"}


def test_rules_are_loaded_and_evaluated(prometheus: Prometheus) -> None:
    assert wait_for(lambda: bool(prometheus.query("card:pulvinar_upstream_failures:ratio_rate5m")), 30)
    assert prometheus.query('ALERTS{alertstate="firing",severity="critical"}') == []


def test_promtool_finds_the_rules_in_order_and_their_unit_tests_pass() -> None:
    for arguments in (
        ["check", "rules", str(MONITORING / "alerts.yaml")],
        ["test", "rules", str(HERE / "alerts_test.yaml")],
    ):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_to_do_and_has_a_unit_test() -> None:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert all(rule["annotations"]["action"] for rule in alerts)
    tested = (HERE / "alerts_test.yaml").read_text("utf-8")
    assert [rule["alert"] for rule in alerts if rule["alert"] not in tested] == []


def test_panels_do_not_overlap_and_each_has_a_description() -> None:
    places: set[tuple[int, int]] = set()
    for panel in PANELS:
        area = panel["gridPos"]
        cells = {(area["x"] + x, area["y"] + y) for x in range(area["w"]) for y in range(area["h"])}
        assert not cells & places, panel["title"]
        places |= cells
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)

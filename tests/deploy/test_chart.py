"""Real Helm renders the chart; the schemas of Kubernetes and of the Prometheus operator judge its documents."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.version import Version

from bench.gateway.processes import Start, free_port, running
from router import __version__
from tests.clients.packages import NEEDS_NODE
from tests.deploy.tools import (
    CHART,
    DIGEST,
    KUBERNETES,
    LEAST,
    NEEDS_TOOLS,
    helm,
    operator_problems,
    rendered,
    schema_problems,
)
from tests.gateway.servers import wait_for
from tests.test_docs import longest_stop_s, problems_of, unread_variables

pytestmark = NEEDS_TOOLS
CARD = "id: {}\nprovider: openai\nmodel: near\nbase_url: http://127.0.0.1:9/v1\napi_key_env: NEAR_KEY\n"
OPERATOR = "monitoring.coreos.com/v1"
SHARED = {"state": {"secret": "redis"}, "records": {"secret": "postgres"}, "persistence": {"enabled": False}}
MONITORED = {
    "serviceMonitor": {"enabled": True, "keySecret": "prometheus-key", "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
}
# Kinds of installation, each with the kinds of document that it adds to those of every one.
INSTALLATIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "one replica": ({}, {"PersistentVolumeClaim"}),
    "an existing volume": ({"persistence": {"existingClaim": "disk"}}, set()),
    "configured": (
        {
            "config": {
                "gateway": {"keepalive": "15s"},
                "cards": {"mine": "id: mine\n"},
                "policies": {"own": "name: own\n"},
                "plans": {"two": "id: two\n"},
            },
            "providers": {"secret": "providers"},
            "env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
            "image": {**LEAST["image"], "pullSecrets": ["registry"]},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "llm", "operator": "Exists"}],
            "podAnnotations": {"note": "yes"},
            "podLabels": {"team": "llm"},
        },
        {"PersistentVolumeClaim"},
    ),
    "three replicas": ({**SHARED, "replicas": 3}, set()),
    "autoscaled": (
        {**SHARED, "autoscaling": {"enabled": True}, "workers": 2, "extraArgs": ["--no-access-log"]},
        {"HorizontalPodAutoscaler"},
    ),
    "monitored": (MONITORED, {"PersistentVolumeClaim", "ServiceMonitor", "PrometheusRule"}),
}


def kind(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(document for document in documents if document["kind"] == name)


def pod_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = kind(documents, "Deployment")["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_every_installation_is_valid_for_the_oldest_and_the_newest_kubernetes(name: str) -> None:
    values, added = INSTALLATIONS[name]
    documents = rendered(values)
    assert {document["kind"] for document in documents} == added | {
        "ConfigMap",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
    }
    own = [document for document in documents if document["apiVersion"] != OPERATOR]
    for version in KUBERNETES:
        assert schema_problems(own, version) == []


def test_the_schemas_reject_a_misspelt_key() -> None:
    documents = rendered({})
    pod_of(documents)["terminationGracePeriod"] = 5
    (problem,) = schema_problems(documents, KUBERNETES[1])
    assert "terminationGracePeriod" in problem


@NEEDS_NODE
def test_monitors_and_rules_are_valid_for_the_prometheus_operator() -> None:
    documents = [document for document in rendered(MONITORED) if document["apiVersion"] == OPERATOR]
    assert operator_problems(documents) == []
    kind(documents, "ServiceMonitor")["spec"]["endpoints"][0]["interval"] = "15 seconds"
    assert operator_problems(documents) == ["ServiceMonitor/spec/endpoints/0/interval: pattern"]


def test_helm_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, values=LEAST).stdout


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == __version__
    assert Version(chart["version"]) == Version(__version__)


def test_the_image_is_named_by_its_digest_and_runs_without_privileges() -> None:
    pod = pod_of(rendered({}))
    (container,) = pod["containers"]
    assert container["image"] == f"registry.example/pulvinar@{DIGEST}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_user_of_the_pod_is_that_of_the_image() -> None:
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text("utf-8")
    context = pod_of(rendered({}))["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in dockerfile


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_pod_has_probes_existing_options_and_enough_time_to_shut_down(name: str) -> None:
    pod = pod_of(rendered(INSTALLATIONS[name][0]))
    (container,) = pod["containers"]
    assert problems_of(container["args"]) == []
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    for probe in ("livenessProbe", "startupProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert pod["terminationGracePeriodSeconds"] > longest_stop_s(container["args"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    # A volume mounted by subPath is never updated.
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_the_pod_sets_only_variables_that_the_gateway_reads() -> None:
    (container,) = pod_of(rendered(INSTALLATIONS["configured"][0]))["containers"]
    assert unread_variables(" ".join(f"{entry['name']}=x" for entry in container["env"])) == set()


def test_no_secret_is_written_by_the_chart() -> None:
    for values, _ in INSTALLATIONS.values():
        documents = rendered(values)
        assert "Secret" not in {document["kind"] for document in documents}


def test_urls_of_redis_and_postgresql_come_from_secrets() -> None:
    (container,) = pod_of(rendered(INSTALLATIONS["three replicas"][0]))["containers"]
    variables = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"]}
    assert variables == {
        "PULVINAR_STATE": {"name": "redis", "key": "url"},
        "PULVINAR_RECORDS": {"name": "postgres", "key": "url"},
    }


def test_autoscaling_follows_requests_in_flight_and_leaves_the_replicas_to_it() -> None:
    documents = rendered(INSTALLATIONS["autoscaled"][0])
    (metric,) = kind(documents, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "pulvinar_requests_in_flight"
    assert "replicas" not in kind(documents, "Deployment")["spec"]
    strategy = kind(documents, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"repository": "x", "digest": "latest"}}, "/image/digest"),
        ({"image": {"repository": "x:1@y", "digest": DIGEST}}, "/image/repository"),
        ({"replica": 2}, "replica"),
        ({"replicas": 2, "persistence": {"enabled": False}}, "only with Redis: set state.secret"),
        ({"replicas": 2, "state": {"secret": "redis"}}, "cannot share the store's volume"),
        ({"drainSeconds": 700}, "terminationGracePeriodSeconds must be longer"),
        ({"keys": {"secret": ""}}, "/keys/secret"),
        ({"env": {"OPENAI_API_KEY": "sk-1"}}, "OPENAI_API_KEY"),
        ({"config": {"cards": {"../a": "id: a"}}}, "'../a' does not match"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_values_is_named(values: dict[str, Any], words: str) -> None:
    done = helm("template", "gw", CHART, values={**LEAST, **values}, check=False)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_gateway_with_the_mounts_of_the_chart_reloads_new_cards_and_settings(tmp_path: Path) -> None:
    """The kubelet writes a new folder, and atomically points the link `..data` of the mount to it."""

    def mounted(cards: dict[str, str], gateway: dict[str, Any]) -> None:
        documents = rendered({"config": {"cards": cards, "gateway": gateway}})
        for name, mount in (("gw-pulvinar", "pulvinar"), ("gw-pulvinar-cards", "pulvinar-cards")):
            data = next(
                one["data"] for one in documents if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", name)
            )
            update_mount(tmp_path / mount, data)

    mounted({"first": CARD.format("first")}, {"open_metrics": True})
    port = free_port()
    (container,) = pod_of(rendered({"config": {"cards": {"first": "-"}}}))["containers"]
    places = {entry["name"]: entry["value"].replace("/etc/", f"{tmp_path}/") for entry in container["env"]}
    command = (sys.executable, str(CHART.parents[2] / "cli.py"), "serve", "--port", str(port))
    own = {name: str(tmp_path / name) for name in ("PULVINAR_STORE", "PULVINAR_CACHE", "PULVINAR_EVIDENCE")}
    # A card without a server: the gateway is up, not ready.
    start = Start(command, tmp_path / "pulvinar", port, ("/healthz",), {**places, **own, "NEAR_KEY": "sk-1"})
    with running(start, tmp_path / "log"), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        def ids() -> set[str]:
            return {model["id"] for model in client.get("/v1/models").json()["data"]}

        assert {"first"} <= ids()
        mounted({"second": CARD.format("second"), "third": CARD.format("third")}, {"open_metrics": True})
        assert wait_for(lambda: {"second", "third"} <= ids() and "first" not in ids(), 60)
        mounted({"second": CARD.format("second")}, {"aliases": {"gpt-x": "second"}})
        assert wait_for(lambda: "gpt-x" in ids() and "third" not in ids(), 60)


def update_mount(mount: Path, files: dict[str, str]) -> None:
    """Write `files` as the kubelet updates a mounted config map."""
    mount.mkdir(exist_ok=True)
    old = (mount / "..data").resolve() if (mount / "..data").exists() else None
    new = mount / f"..{time.monotonic_ns()}"
    new.mkdir()
    for name, text in files.items():
        (new / name).write_text(text, encoding="utf-8")
    (mount / "..data_tmp").symlink_to(new.name)
    (mount / "..data_tmp").rename(mount / "..data")
    for name in files:
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(Path("..data") / name)
    for link in mount.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
    if old is not None:
        shutil.rmtree(old)


def test_every_value_is_used_by_a_template() -> None:
    templates = "".join(file.read_text("utf-8") for file in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert {key for key in values if not re.search(rf"\.Values\.{key}\b", templates)} == set()

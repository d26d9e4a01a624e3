"""The whole path, as a user would walk it: apply, wait, read; and what must never happen on the way."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from testbed.agreement import Advice, judge
from testbed.cluster.audit import Request
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess, wait_for_advice
from tests.e2e.conftest import Live

pytestmark = pytest.mark.e2e

OURS = "gpu-rightsizer.dev/"
ANNOTATIONS = {f"{OURS}summary", f"{OURS}recommendation", f"{OURS}recommendation-id"}
MAY_WRITE = {
    ("inferencedeployments", "status"),
    ("inferencedeployments", ""),
    ("instanceclasses", "status"),
    ("rightsizingpolicies", "status"),
    ("events", ""),
    ("leases", ""),
}


def by_name(live: Live, name: str, namespace: str) -> dict[str, Any]:
    return live.cluster.get("inferencedeployment", name, namespace=namespace)


def condition(raw: dict[str, Any], kind: str) -> dict[str, str]:
    """The condition of that type; empty before the first status."""
    found = raw.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


def test_every_case_agrees_with_the_ground_truth(live: Live) -> None:
    said = [
        judge(case, Advice.read(by_name(live, case.actor.twin.name, case.actor.twin.namespace))) for case in live.cases
    ]

    assert [each for each in said if not each.agrees] == []


def test_the_table_shows_target_mode_classes_saving_risk_ready_and_age(live: Live) -> None:
    header, *rows = live.cluster.kubectl("get", "infd", "-A").splitlines()

    assert header.split() == [
        *("NAMESPACE", "NAME", "TARGET", "MODE", "CURRENT", "RECOMMENDED", "SAVING/MO", "RISK", "READY", "AGE"),
    ]
    assert len(rows) == len(live.cases)


def test_the_recommendation_stands_in_annotations_and_status_alike(live: Live) -> None:
    raw = by_name(live, "llama-8b", "chat")
    annotations = raw["metadata"]["annotations"]
    advice = raw["status"]["recommendation"]

    assert set(annotations) >= ANNOTATIONS
    assert annotations[f"{OURS}recommendation"].startswith('{"schema":1,')
    assert json.loads(annotations[f"{OURS}recommendation"])["id"] == advice["id"]
    assert annotations[f"{OURS}recommendation-id"] == advice["id"]
    assert advice["target"]["instanceClass"] in annotations[f"{OURS}summary"]


def test_lost_metrics_are_unknown_and_the_condition_says_what_is_missing(live: Live) -> None:
    raw = by_name(live, "mistral-7b-lost", "legacy")

    observed = condition(raw, "Observed")
    assert observed["status"] == "False"
    assert raw["status"]["recommendation"]["action"] == "Unknown"


def test_no_status_is_written_twice(live: Live) -> None:
    """Live scrapes move real peaks now and then; what did not move is never written again, cycle after cycle."""
    time.sleep(20)  # the first cycles settle what only the second look can know
    before = len(_writes(live))
    time.sleep(50)

    written = [each for each in _writes(live) if each.subresource == "status" and each.body]
    latest: dict[str, object] = {}
    for each in written:
        body = (each.body or {}).get("status")
        assert body != latest.get(f"{each.namespace}/{each.name}"), each
        latest[f"{each.namespace}/{each.name}"] = body
    later = [(each.resource, each.name) for each in _writes(live)[before:] if each.resource != "leases"]
    assert len(later) <= len(live.cases), later  # three cycles; a status and an annotation each would be 60


def test_the_operator_writes_only_its_own_fields_and_is_never_refused(live: Live) -> None:
    requests = live.cluster.requests(service_account=(NAMESPACE, SERVICE_ACCOUNT))

    assert {(each.resource, each.subresource) for each in requests if each.writes} <= MAY_WRITE
    assert [each for each in requests if each.denied] == []


def test_no_finalizer_is_ever_set(live: Live) -> None:
    for case in live.cases:
        raw = by_name(live, case.actor.twin.name, case.actor.twin.namespace)
        assert "finalizers" not in raw["metadata"]


def test_a_new_deployment_is_judged_soon(live: Live) -> None:
    """The watch wakes the loop: nobody waits for the next turn."""
    manifest = {
        "apiVersion": f"{OURS}v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "ghost", "namespace": "chat"},
        "spec": {"targetRef": {"kind": "Deployment", "name": "no-such-thing"}},
    }
    live.cluster.apply(manifest)

    live.cluster.eventually(
        lambda: condition(by_name(live, "ghost", "chat"), "Observed").get("status") == "False",
        what="the ghost judged",
        seconds=20,
    )
    raw = by_name(live, "ghost", "chat")
    assert "no-such-thing" in condition(raw, "Ready")["message"]
    live.cluster.kubectl("delete", "infd", "ghost", "-n", "chat", "--timeout=10s")


def test_mode_off_takes_the_recommendation_back(live: Live) -> None:
    where = ("-n", "search", "qwen-7b")
    live.cluster.kubectl("patch", "infd", *where, "--type=merge", "-p", '{"spec":{"mode":"Off"}}')
    live.cluster.eventually(
        lambda: "recommendation" not in by_name(live, "qwen-7b", "search")["status"],
        what="the recommendation gone",
        seconds=20,
    )
    left = by_name(live, "qwen-7b", "search")["metadata"].get("annotations", {})
    assert not ANNOTATIONS & set(left)
    live.cluster.kubectl("patch", "infd", *where, "--type=merge", "-p", '{"spec":{"mode":"Recommend"}}')
    live.cluster.eventually(
        lambda: "recommendation" in by_name(live, "qwen-7b", "search")["status"],
        what="the recommendation back",
        seconds=20,
    )


def test_probes_and_own_metrics(live: Live) -> None:
    assert live.operator.healthz() == (200, "ok")
    metrics = live.operator.metrics()
    queries = next(
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("gpu_rightsizer_cycle_promql_queries ")
    )

    assert 0 < queries <= 15
    assert 'gpu_rightsizer_current_hourly_cost_usd{name="llama-8b",namespace="chat"} 55.04' in metrics


def test_a_second_operator_stands_by(live: Live) -> None:
    with OperatorProcess(live.cluster, live.prometheus.url) as second:
        second.wait_ready(30)
        assert "gpu_rightsizer_current_hourly_cost_usd" not in second.metrics()


def test_run_once_says_who_leads_and_changes_nothing(live: Live) -> None:
    command = [str(part) for part in live.operator.command()] + ["--once"]
    done = subprocess.run(
        command, env=live.operator.environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("gpu-rightsizer: another operator leads")


def test_sigterm_ends_it_within_ten_seconds_and_gives_the_lease_back(live: Live) -> None:
    began = time.monotonic()
    code = live.operator.terminate(grace_seconds=15)

    assert code == 0
    assert time.monotonic() - began < 10
    lease = live.cluster.get("lease", "gpu-rightsizer", namespace=NAMESPACE)
    assert lease["spec"].get("holderIdentity", "") == ""

    command = [str(part) for part in live.operator.command()] + ["--once"]
    done = subprocess.run(
        command, env=live.operator.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    wait_for_advice(live.cluster, len(live.cases))


def test_without_the_operator_everything_can_be_deleted(live: Live) -> None:
    """Last: the operator has ended by now, and nothing of ours may hold anything back."""
    live.operator.terminate()
    live.cluster.kubectl("delete", "namespace", "rag", "--timeout=60s", seconds=70)
    live.cluster.kubectl("delete", "infd", "-A", "--all", "--timeout=10s")
    live.cluster.kubectl("delete", "crd", "inferencedeployments.gpu-rightsizer.dev", "--timeout=20s")


def _writes(live: Live) -> list[Request]:
    requests = live.cluster.requests(service_account=(NAMESPACE, SERVICE_ACCOUNT))
    return [each for each in requests if each.writes]

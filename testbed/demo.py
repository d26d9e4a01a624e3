"""`make demo`: ten real-shaped workloads, the operator, and what it says about each, held against the ground truth.

KEEP=1 leaves everything running and says how to end it. `--record FOLDER` also writes what was printed, for the README.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed import tools
from testbed.agreement import Advice, Judgement, judge
from testbed.cases import Case, demo_fleet
from testbed.cluster.base import Cluster
from testbed.cluster.choose import chosen_kind
from testbed.ground import Ground, ground
from testbed.manifests import inference_deployment
from testbed.operator_process import NAMESPACE, wait_for_advice

SHOWN = ("chat", "llama-8b")


@dataclass(slots=True)
class Transcript:
    """What a person would have typed and seen, section by section."""

    folder: Path | None = None
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str = "") -> None:
        """Print."""
        print(text, flush=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce a step and say how long it took."""
        self.say(f"-- {what} ...")
        began = time.monotonic()
        yield
        self.say(f"   {time.monotonic() - began:.0f} s")

    def ran(self, name: str, command: str, output: str) -> None:
        """A command and what it printed, kept under `name`."""
        text = f"$ {command}\n{output.rstrip()}\n"
        self.say(f"\n{text}")
        if self.folder is not None:
            (self.folder / f"{name}.txt").write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when what the operator says agrees with the twins, 1 when it does not."""
    parser = argparse.ArgumentParser(prog="python -m testbed.demo", description=__doc__)
    parser.add_argument("--record", type=Path, help="also write each command and its output into this folder")
    options = parser.parse_args(argv)
    if options.record:
        options.record.mkdir(parents=True, exist_ok=True)
    transcript = Transcript(options.record)
    with contextlib.ExitStack() as stack:
        with transcript.step("the tools: etcd, kube-apiserver, kwok, Helm, Prometheus"):
            tools.main([])
        chosen = ground(chosen_kind(), SHOWN)
        with transcript.step(f"a cluster: {chosen.what}"):
            stack.enter_context(chosen)
        return _play(transcript, chosen)


def _play(transcript: Transcript, on: Ground) -> int:
    cases, cluster = demo_fleet(), on.cluster
    with transcript.step(f"{len(cases)} workloads with 14 days of history"):
        on.stage.put_up([case.actor for case in cases])
    with transcript.step("helm install gpu-rightsizer (CRDs, RBAC, policies)"):
        on.install()
    with transcript.step(f"kubectl apply: {len(cases)} InferenceDeployments"):
        cluster.apply([inference_deployment(case.actor.twin, case.actor.asked) for case in cases])
    with transcript.step("the operator's first cycle, under the chart's ServiceAccount"):
        on.operate()
        wait_for_advice(cluster, len(cases))
    _show(transcript, cluster)
    judgements = [judge(case, _advice(cluster, case)) for case in cases]
    _compare(transcript, judgements)
    _look_further(transcript)
    if os.environ.get("KEEP"):
        _keep(transcript, on)
    wrong = [each for each in judgements if not each.agrees]
    transcript.say(f"\n{len(judgements) - len(wrong)} of {len(judgements)} agree with the ground truth.")
    return 1 if wrong else 0


def _advice(cluster: Cluster, case: Case) -> Advice:
    twin = case.actor.twin
    return Advice.read(cluster.get("inferencedeployment", twin.name, namespace=twin.namespace))


def _show(transcript: Transcript, cluster: Cluster) -> None:
    namespace, name = SHOWN
    get = "kubectl get infd -A"
    transcript.ran("get", get, cluster.kubectl("get", "infd", "-A"))
    found = cluster.get("inferencedeployment", name, namespace=namespace)
    path = r"jsonpath={.metadata.annotations.gpu-rightsizer\.dev/summary}"
    summary = found["metadata"]["annotations"]["gpu-rightsizer.dev/summary"]
    transcript.ran("summary", f"kubectl get infd {name} -n {namespace} -o '{path}'", summary)
    describe = cluster.kubectl("describe", "infd", name, "-n", namespace)
    transcript.ran("describe", f"kubectl describe infd {name} -n {namespace}", _without_noise(describe))


def _without_noise(described: str) -> str:
    """Without the annotation that repeats the recommendation as JSON in one long line."""
    kept = [_shortened(line) for line in described.splitlines()]
    skipping, lines = False, []
    for line in kept:
        if line.strip().startswith('{"schema"'):
            continue
        skipping = line.startswith("  Managed Fields:") or (skipping and line.startswith("    "))
        if not skipping:
            lines.append(line)
    return "\n".join(lines)


def _shortened(line: str) -> str:
    key = "gpu-rightsizer.dev/recommendation:"
    return f"{line[: line.index(key)]}{key} (the recommendation as JSON)" if key in line else line


def _compare(transcript: Transcript, judgements: Sequence[Judgement]) -> None:
    rows = [("WORKLOAD", "CASE", "SAYS", "GROUND TRUTH", "")]
    rows += [
        (each.name, each.shows, each.says, each.truth, "ok" if each.agrees else "DISAGREES") for each in judgements
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    transcript.say("\nHeld against the twins, which know what would have happened on every class:\n")
    transcript.say("\n".join(lines))
    if transcript.folder is not None:
        (transcript.folder / "truth.txt").write_text("\n".join(lines) + "\n")


def _look_further(transcript: Transcript) -> None:
    namespace, name = SHOWN
    transcript.say(
        "\nLook further (KEEP=1 make demo leaves all of it running):\n"
        "  kubectl get infd -A -o wide                      the reason and the evidence tier of each\n"
        f"  kubectl get infd {name} -n {namespace} -o yaml            everything, as machines read it\n"
        "  kubectl explain infd.spec.slo                    what may be asked for\n"
        "  kubectl get events -A --field-selector reason=RecommendationChanged"
    )


def _keep(transcript: Transcript, on: Ground) -> None:
    path = os.pathsep.join(dict.fromkeys(str(tools.program(each).parent) for each in ("kubectl", "helm")))
    transcript.say(
        "\nIt keeps running. For a shell with its kubectl and helm:\n"
        f"  export KUBECONFIG={on.cluster.admin_kubeconfig} PATH={path}:$PATH\n"
        "The operator's log, and the release:\n"
        f"  {on.log_command()}\n  helm status gpu-rightsizer -n {NAMESPACE}\n"
        f"Prometheus, with 14 days of history:\n  {on.prometheus.url}\n"
        f"End all of it with:\n  kill {' '.join(map(str, on.detach()))}"
    )


if __name__ == "__main__":
    sys.exit(main())

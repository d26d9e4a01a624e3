"""What stands on kind beside the workloads: Prometheus, the double of a DCGM exporter, a double for kwok's pods."""

from collections.abc import Mapping

import yaml

from testbed.cluster.base import Object
from testbed.kind import discovery
from testbed.kind.double import PORT_VARIABLE
from testbed.prometheus import OUT_OF_ORDER_WINDOW, RETENTION

MONITORING, DCGM_NAMESPACE, STAND_INS = "monitoring", "gpu-operator", "stand-ins"
DCGM = "nvidia-dcgm-exporter"
DCGM_PORT = 9400
PROMETHEUS_URL = f"http://prometheus.{MONITORING}.svc:9090"
SCRAPE_SECONDS = 10
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Object = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def prometheus(image: str, double: str, node: str) -> list[Object]:
    """Prometheus in a pod: it finds the pods of `node` by the API, and those of kwok's nodes at their stand-in."""
    account = {"kind": "ServiceAccount", "name": "prometheus", "namespace": MONITORING}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prometheus"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    return [
        _object("v1", "ServiceAccount", "prometheus", MONITORING),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", "prometheus", rules=rules),
        _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "prometheus", roleRef=role, subjects=[account]),
        _object("v1", "ConfigMap", "prometheus", MONITORING, data={"prometheus.yml": yaml.safe_dump(_config(node))}),
        _service("prometheus", MONITORING, 9090, "NodePort"),
        _workload("Deployment", "prometheus", MONITORING, _prometheus_pod(image, double), replicas=1),
    ]


def _prometheus_pod(image: str, double: str) -> Object:
    flags = [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/data",
        f"--storage.tsdb.retention.time={RETENTION}",
        "--web.enable-remote-write-receiver",
    ]
    container = {
        "name": "prometheus",
        "image": image,
        "args": flags,
        "ports": [{"name": "web", "containerPort": 9090}],
        # Without a request it gets next to nothing of a machine that is busy.
        "resources": {"requests": {"cpu": "400m", "memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "web"}, "periodSeconds": 1},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    volumes = [{"name": "config", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}]
    finder = {
        "name": "discovery",
        "image": double,
        "command": ["python3", "-m", "testbed.kind.discovery"],
        "securityContext": CONTAINER_SECURITY,
    }
    pod = {"containers": [container, finder], "volumes": volumes, "securityContext": POD_SECURITY}
    return {**pod, "serviceAccountName": "prometheus", "terminationGracePeriodSeconds": 2}


def _config(node: str) -> Object:
    """The usual pod labels, honor_labels false: what DCGM says of a GPU's pod is then stored as exported_pod."""
    stand_in = {"url": f"http://stand-in.{STAND_INS}.svc:8000/targets", "refresh_interval": "5s"}
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "storage": {"tsdb": {"out_of_order_time_window": OUT_OF_ORDER_WINDOW}},
        "scrape_configs": [
            _pods_job("vllm", node, "vllm;http"),
            _pods_job(DCGM, node, f"{DCGM};metrics"),
            {"job_name": "stand-in", "http_sd_configs": [stand_in]},
        ],
    }


def _pods_job(job: str, node: str, container_and_port: str) -> Object:
    meta = "__meta_kubernetes_pod"
    keep = {"action": "keep"}
    kept: list[Object] = [
        # A double that has no recording yet is a server that loads its weights; history has no word of it.
        {**keep, "source_labels": [f"{meta}_ready"], "regex": "true"},
        {**keep, "source_labels": [f"{meta}_node_name"], "regex": node},
        {**keep, "source_labels": [f"{meta}_container_name", f"{meta}_container_port_name"]}
        | {"regex": container_and_port},
    ]
    named: list[Object] = [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{meta}_name"], "target_label": "pod"},
        {"source_labels": [f"{meta}_container_name"], "target_label": "container"},
    ]
    found = {"url": f"http://127.0.0.1:{discovery.PORT}/", "refresh_interval": "2s"}
    return {"job_name": job, "http_sd_configs": [found], "relabel_configs": kept + named}


def dcgm_exporter(image: str, node: str) -> Object:
    """A DaemonSet as the GPU operator's, on the one node whose kubelet is real."""
    pod = _double(DCGM, image, DCGM_PORT, "metrics")
    pod["nodeSelector"] = {"kubernetes.io/hostname": node}
    return _workload("DaemonSet", DCGM, DCGM_NAMESPACE, pod)


def stand_in(image: str) -> list[Object]:
    """One pod that shows the metrics of all pods of kwok's nodes, which have no processes."""
    pod = _double("stand-in", image, 8000, "http")
    return [
        # Headless: a cluster address whose rules kube-proxy has yet to write is routed out of the machine, and what
        # answers there is asked again over the same connection for ever.
        _service("stand-in", STAND_INS, 8000, clusterIP="None"),
        _workload("Deployment", "stand-in", STAND_INS, pod, replicas=1),
    ]


def _double(name: str, image: str, port: int, port_name: str) -> Object:
    container = {
        "name": name,
        "image": image,
        "env": [{"name": PORT_VARIABLE, "value": str(port)}],
        "ports": [{"name": port_name, "containerPort": port}],
        "readinessProbe": readiness(port_name),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - where the double looks
    }
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}]
    return {"containers": [container], "volumes": volumes, "securityContext": POD_SECURITY}


def readiness(port: str) -> Object:
    """A vLLM server answers /health once its weights are loaded."""
    return {"httpGet": {"path": "/health", "port": port}, "periodSeconds": 1, "timeoutSeconds": 3}


def _workload(kind: str, name: str, namespace: str, pod: Object, **spec: object) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    selector = {"matchLabels": labels}
    return _object("apps/v1", kind, name, namespace, spec={**spec, "selector": selector, "template": template})


def _service(name: str, namespace: str, port: int, kind: str = "ClusterIP", **more: str) -> Object:
    # Unready ones too: discovery asks the stand-in from the start, and a refused connection is no error.
    spec = {
        "type": kind,
        "selector": {"app": name},
        "ports": [{"port": port}],
        "publishNotReadyAddresses": True,
        **more,
    }
    return _object("v1", "Service", name, namespace, spec=spec)


def _object(api_version: str, kind: str, name: str, namespace: str | None = None, **more: object) -> Object:
    metadata: Mapping[str, str] = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}

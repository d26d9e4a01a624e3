"""What a person would have applied for a twin: nodes, a Deployment that serves the model, an InferenceDeployment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.cluster.base import KwokNode, Object, Taint
from testbed.twin.deployment import TwinSpec
from testbed.twin.hardware import NodeClass
from testbed.twin.identity import letters
from testbed.twin.judge import Objective

REGION = "us-east-1"
DEDICATED = "dedicated"  # taint that keeps other workloads off a twin's nodes, as platform teams do
VLLM_IMAGE = "vllm/vllm-openai:v0.15.1"
EAGER_IMAGE = "nvcr.io/nvidia/tritonserver:25.06-py3"
SYSTEM_CPU, SYSTEM_MEMORY_GIB = 0.2, 1.5  # what kubelet and system keep of a small node


@dataclass(frozen=True, slots=True)
class Host:
    """What one replica asks of its host."""

    cpu: str = "3"
    memory: str = "24Gi"
    shared_memory: str = "2Gi"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a twin is presented to the cluster: accelerators requested (None: as many as it uses), host, wishes."""

    accelerators: int | None = None
    host: Host = field(default_factory=Host)
    spec: Mapping[str, Any] = field(default_factory=dict)  # more of the InferenceDeployment's spec
    arguments: tuple[str, ...] = ()  # more of the engine's arguments


def nodes(twin: TwinSpec) -> list[KwokNode]:
    """A node of the twin's class for each replica, kept for it by a taint."""
    return [_node(twin, index) for index in range(twin.replicas)]


def _node(twin: TwinSpec, index: int) -> KwokNode:
    node_class = twin.node
    gpu = node_class.accelerator
    return KwokNode(
        name=f"ip-{letters(f'{twin.namespace}/{twin.name}/{index}', 6)}",
        allocatable={
            "cpu": f"{node_class.vcpu - SYSTEM_CPU:g}",
            "memory": f"{node_class.ram_gib - SYSTEM_MEMORY_GIB - node_class.ram_gib * 0.02:.1f}Gi",
            "ephemeral-storage": "200Gi",
            "pods": "58",
            "nvidia.com/gpu": str(node_class.gpu_count),
        },
        labels={
            "node.kubernetes.io/instance-type": node_class.name,
            "topology.kubernetes.io/region": REGION,
            "topology.kubernetes.io/zone": f"{REGION}a",
            "karpenter.sh/capacity-type": "on-demand",
            "nvidia.com/gpu.product": gpu.product,
            "nvidia.com/gpu.count": str(node_class.gpu_count),
            "nvidia.com/gpu.memory": str(gpu.fb_total_mib),
        },
        taints=[Taint(DEDICATED, _owner(twin))],
    )


def deployment(twin: TwinSpec, asked: Asked) -> Object:
    """The Deployment, as its team wrote it."""
    labels = {"app": twin.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": twin.name, "namespace": twin.namespace, "labels": labels},
        "spec": {
            "replicas": twin.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(twin, asked)},
        },
    }


def _pod(twin: TwinSpec, asked: Asked) -> Object:
    eager = twin.architecture.is_eager
    gpus = {"nvidia.com/gpu": str(asked.accelerators or twin.tp)}
    return {
        "nodeSelector": {"node.kubernetes.io/instance-type": twin.node_class},
        "tolerations": [{"key": DEDICATED, "value": _owner(twin), "effect": "NoSchedule"}],
        "containers": [
            {
                "name": "server" if eager else "vllm",
                "image": EAGER_IMAGE if eager else VLLM_IMAGE,
                "args": list(asked.arguments) if eager else [*_arguments(twin), *asked.arguments],
                "ports": [{"containerPort": 8000, "name": "http"}],
                "resources": {"requests": {"cpu": asked.host.cpu, "memory": asked.host.memory}, "limits": gpus},
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - where vLLM wants it
            }
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": asked.host.shared_memory}}],
    }


def _arguments(twin: TwinSpec) -> list[str]:
    args = twin.args
    flags: dict[str, object | None] = {
        "--model": twin.model,
        "--tensor-parallel-size": twin.tp if twin.tp > 1 else None,
        "--gpu-memory-utilization": args.gpu_memory_utilization,
        "--max-model-len": args.max_model_len,
        "--max-num-seqs": args.max_num_seqs,
        "--max-num-batched-tokens": args.max_num_batched_tokens,
        "--quantization": args.weight_dtype if args.weight_dtype != "bfloat16" else None,
        "--kv-cache-dtype": args.kv_cache_dtype if args.kv_cache_dtype != "auto" else None,
    }
    return [f"{flag}={value}" for flag, value in flags.items() if value is not None]


def inference_deployment(twin: TwinSpec, asked: Asked) -> Object:
    """The InferenceDeployment a service owner would write: the target, the objective, and nothing detectable."""
    is_eager = twin.architecture.is_eager  # it makes images, and has no tokens to limit
    eager = {"engine": {"type": "Custom"}} if is_eager else {}
    slo = {"attainment": f"{twin.objective.attainment * 100:g}%"} | ({} if is_eager else _latencies(twin.objective))
    return {
        "apiVersion": "gpu-rightsizer.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": twin.name, "namespace": twin.namespace},
        "spec": {"targetRef": {"kind": "Deployment", "name": twin.name}, "slo": slo, **eager, **asked.spec},
    }


def _latencies(objective: Objective) -> Object:
    return {
        "ttft": {"p95": f"{round(objective.ttft_p95_s * 1000)}ms"},
        "tpot": {"p95": f"{round(objective.tpot_p95_s * 1000)}ms"},
    }


def _owner(twin: TwinSpec) -> str:
    return f"{twin.namespace}-{twin.name}"


def usable_host(node_class: NodeClass) -> tuple[float, float]:
    """CPU cores and GiB of memory that pods may ask of a node of that class, in this testbed."""
    return node_class.vcpu - SYSTEM_CPU, node_class.ram_gib * 0.98 - SYSTEM_MEMORY_GIB

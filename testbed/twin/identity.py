"""Names of pods, nodes and devices as they stand in labels; all follow from the workload's name and a seed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes uses for generated names


@dataclass(frozen=True, slots=True)
class Pod:
    """One inference pod as labels name it; `ip` becomes the `instance` of its scrape target."""

    name: str
    namespace: str
    container: str
    node: str
    ip: str


def letters(text: str, length: int) -> str:
    """Letters that look generated and follow from `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


def address(text: str, network: str = "10.42") -> str:
    """An address that follows from `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"{network}.{digest[0]}.{1 + digest[1] % 254}"


def pods_of(
    workload: str, namespace: str, replicas: int, generation: int = 0, container: str = "vllm"
) -> tuple[Pod, ...]:
    """Pods of one generation of a Deployment: `name-<replica set>-<pod>`, each on a node of its own."""
    replica_set = letters(f"{namespace}/{workload}/{generation}", 10)
    names = [
        f"{workload}-{replica_set}-{letters(f'{namespace}/{workload}/{generation}/{index}', 5)}"
        for index in range(replicas)
    ]
    nodes = [f"gpu-{letters(f'{namespace}/{workload}/node/{index}', 8)}" for index in range(replicas)]
    return tuple(Pod(name, namespace, container, node, address(name)) for name, node in zip(names, nodes, strict=True))


def former(current: Iterable[Pod], workload: str, generation: int) -> tuple[Pod, ...]:
    """The pods that stood where the current ones stand, before the last rollouts."""
    current = tuple(current)
    older = pods_of(workload, current[0].namespace, len(current), generation, current[0].container)
    return tuple(
        Pod(old.name, now.namespace, now.container, now.node, old.ip) for old, now in zip(older, current, strict=True)
    )


def device_uuid(node: str, index: int) -> str:
    """The UUID of one GPU of a node."""
    digest = hashlib.sha256(f"{node}/{index}".encode()).hexdigest()
    return f"GPU-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"

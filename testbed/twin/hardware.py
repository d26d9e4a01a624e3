"""The twin's own table of GPUs and of the instance classes that carry them.

Kept apart from the product's catalogue on purpose: the twin judges the product, so a wrong figure in one must
not be a wrong figure in both.

Sources: frame-buffer totals as `nvidia-smi` prints them (public logs; EC2 API for B200); bandwidth and dense
tensor rates from ai-dynamo/aiconfigurator @095f58a `systems/*.yaml` and NVIDIA datasheets; instance shapes and
us-east-1 on-demand prices from karpenter-provider-aws @1d92708 `zz_generated.pricing_aws.go` (generated
2026-07-20). `reserved_mib` (NVML total minus what CUDA sees) is known for L4 (23034 MiB against 22.04 GiB, a
vLLM startup log) and recalled for the others, +-150 MiB. A10G: 125 dense fp16 TFLOPS as the A10; a published 70
cannot be, since a measured prefill (550 tokens of an 8B model in 137 ms, one decode step included) exceeds it.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator: memory in MiB as the driver reports it, bandwidth in GB/s, dense tensor TFLOPS."""

    key: str
    dcgm_name: str
    product: str
    fb_total_mib: int
    reserved_mib: int
    bandwidth_gbps: float
    bf16_tflops: float
    fp8_tflops: float | None
    compute_capability: tuple[int, int]
    tdp_watt: float
    idle_watt: float
    nvlink: bool
    link_gbps: float

    @property
    def cuda_total_bytes(self) -> int:
        """What a CUDA process sees: FB_USED + FB_FREE."""
        return (self.fb_total_mib - self.reserved_mib) * MIB


_Row: TypeAlias = tuple[
    str,
    tuple[str, str],
    tuple[int, int],
    tuple[float, float, float | None],
    tuple[int, int],
    tuple[float, float],
    tuple[bool, float],
]


def _gpu(row: _Row) -> Gpu:
    key, (dcgm_name, product), (total, reserved), (bandwidth, bf16, fp8), capability, (tdp, idle), (nvlink, link) = row
    return Gpu(
        key, dcgm_name, product, total, reserved, bandwidth, bf16, fp8, capability, tdp, idle, nvlink, float(link)
    )


# key, names, MiB total and reserved, GB/s and TFLOPS bf16 and fp8, compute capability, watts, NVLink and link GB/s
_ROWS: tuple[_Row, ...] = (
    ("t4", ("Tesla T4", "Tesla-T4"), (15360, 430), (320, 65, None), (7, 5), (70, 10), (False, 16)),
    ("a10g", ("NVIDIA A10G", "NVIDIA-A10G"), (23028, 440), (600, 125, None), (8, 6), (300, 17), (False, 32)),
    ("l4", ("NVIDIA L4", "NVIDIA-L4"), (23034, 465), (300, 121, 242), (8, 9), (72, 13), (False, 32)),
    ("l40s", ("NVIDIA L40S", "NVIDIA-L40S"), (46068, 600), (864, 362.05, 733), (8, 9), (350, 33), (False, 32)),
    (
        "rtx-pro-6000",
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"),
        (97887, 640),
        (1792, 467.8, 935.6),
        (12, 0),
        (600, 35),
        (False, 64),
    ),
    (
        "a100-40",
        ("NVIDIA A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB"),
        (40960, 560),
        (1555, 312, None),
        (8, 0),
        (400, 50),
        (True, 300),
    ),
    (
        "a100-80",
        ("NVIDIA A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB"),
        (81920, 750),
        (2039, 312, None),
        (8, 0),
        (400, 60),
        (True, 300),
    ),
    (
        "h100",
        ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3"),
        (81559, 550),
        (3350, 989, 1978),
        (9, 0),
        (700, 70),
        (True, 450),
    ),
    ("h200", ("NVIDIA H200", "NVIDIA-H200"), (143771, 650), (4800, 989, 1978), (9, 0), (700, 75), (True, 450)),
    ("b200", ("NVIDIA B200", "NVIDIA-B200"), (183359, 700), (7700, 2250, 4500), (10, 0), (1000, 140), (True, 900)),
)

GPUS: dict[str, Gpu] = {row[0]: _gpu(row) for row in _ROWS}


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One AWS instance type: `gpu_count` whole GPUs, host memory in GiB, USD per hour for the whole node."""

    name: str
    gpu: str
    gpu_count: int
    vcpu: int
    ram_gib: int
    hourly_usd: Decimal

    @property
    def accelerator(self) -> Gpu:
        """The GPU model that this class carries."""
        return GPUS[self.gpu]


_CLASS_ROWS = (
    ("g4dn.xlarge", "t4", 1, 4, 16, "0.526"),
    ("g4dn.2xlarge", "t4", 1, 8, 32, "0.752"),
    ("g4dn.12xlarge", "t4", 4, 48, 192, "3.912"),
    ("g5.xlarge", "a10g", 1, 4, 16, "1.006"),
    ("g5.2xlarge", "a10g", 1, 8, 32, "1.212"),
    ("g5.4xlarge", "a10g", 1, 16, 64, "1.624"),
    ("g5.12xlarge", "a10g", 4, 48, 192, "5.672"),
    ("g5.48xlarge", "a10g", 8, 192, 768, "16.288"),
    ("g6.xlarge", "l4", 1, 4, 16, "0.8048"),
    ("g6.2xlarge", "l4", 1, 8, 32, "0.9776"),
    ("g6.4xlarge", "l4", 1, 16, 64, "1.3232"),
    ("g6.12xlarge", "l4", 4, 48, 192, "4.6016"),
    ("g6.48xlarge", "l4", 8, 192, 768, "13.3504"),
    ("g6e.xlarge", "l40s", 1, 4, 32, "1.861"),
    ("g6e.2xlarge", "l40s", 1, 8, 64, "2.24208"),
    ("g6e.4xlarge", "l40s", 1, 16, 128, "3.00424"),
    ("g6e.12xlarge", "l40s", 4, 48, 384, "10.49264"),
    ("g6e.48xlarge", "l40s", 8, 192, 1536, "30.13118"),
    ("g7e.2xlarge", "rtx-pro-6000", 1, 8, 64, "3.36312"),
    ("g7e.12xlarge", "rtx-pro-6000", 2, 48, 512, "8.28608"),
    ("g7e.24xlarge", "rtx-pro-6000", 4, 96, 1024, "16.57216"),
    ("g7e.48xlarge", "rtx-pro-6000", 8, 192, 2048, "33.14432"),
    ("p4d.24xlarge", "a100-40", 8, 96, 1152, "21.957642"),
    ("p4de.24xlarge", "a100-80", 8, 96, 1152, "27.44705"),
    ("p5.4xlarge", "h100", 1, 16, 256, "6.88"),
    ("p5.48xlarge", "h100", 8, 192, 2048, "55.04"),
    ("p5en.48xlarge", "h200", 8, 192, 2048, "63.296"),
    ("p6-b200.48xlarge", "b200", 8, 192, 2048, "113.9328"),
)

CLASSES: dict[str, NodeClass] = {
    name: NodeClass(name, gpu, count, vcpu, ram, Decimal(usd)) for name, gpu, count, vcpu, ram, usd in _CLASS_ROWS
}


def ascending_price(names: tuple[str, ...] | None = None) -> tuple[NodeClass, ...]:
    """All classes, or those named, cheapest first."""
    chosen = CLASSES.values() if names is None else (CLASSES[name] for name in names)
    return tuple(sorted(chosen, key=lambda node: (node.hourly_usd, node.name)))

"""What is true of one twin and hidden from the product: the figures that no data sheet and no metric gives.

Each is drawn once per twin around a published value, so that a predictor which merely repeats the published value
is wrong by as much as it would be in life. Sources of the centres: decode efficiency and per-layer overhead were
fitted to the dense vLLM rows of ai-dynamo/aiconfigurator @095f58a `silicon_sample.csv` by running this engine
against them (tests/twin/test_facts.py); activation and collective-buffer sizes are those of aiconfigurator
`base_backend.py`; the CUDA context of 0.3 to 0.6 GiB per process and graphs of 0.3 to 1 GiB are recalled.
"""

from dataclasses import dataclass, replace

import numpy as np

DECODE_EFFICIENCY = {1: 0.95, 2: 0.84, 4: 0.76, 8: 0.60}
# share of the bf16 utilisation that fp8 matrices reach: 39 % against 67 % of peak for the same prompt on H100 fp8 and
# A100 fp16, 52 % on L40S fp8 (NVIDIA TensorRT-LLM performance pages)
FP8_UTILISATION = 0.75
LAYER_OVERHEAD_S = {1: 80e-6, 2: 65e-6, 4: 62e-6, 8: 60e-6}


@dataclass(frozen=True, slots=True)
class Truth:
    """Hidden figures. Factors are dimensionless multipliers of the published value; memory in bytes per rank."""

    bandwidth_factor: float = 1.0
    overhead_factor: float = 1.0
    prefill_mfu: float = 0.56
    sequence_overhead_s: float = 12e-6
    request_overhead_s: float = 0.012
    non_torch_bytes: float = 0.55e9
    graph_bytes: float = 0.5e9
    activation_factor: float = 1.0
    spike_bytes_per_prompt_token: float = 0.0
    load_gbps: float = 1.0
    start_s: float = 45.0

    def with_spikes(self, bytes_per_prompt_token: float) -> "Truth":
        """The same engine, whose long prompts also take memory that was not profiled (prompt log-probabilities)."""
        return replace(self, spike_bytes_per_prompt_token=bytes_per_prompt_token)


PUBLISHED = Truth()


def draw(seed: int) -> Truth:
    """One twin's hidden figures: +-6 % on bandwidth, +-10 % on overheads (one sigma), memory within what was seen."""
    rng = np.random.default_rng([seed, 0x7717])
    return Truth(
        bandwidth_factor=float(np.clip(rng.lognormal(0.0, 0.06), 0.85, 1.04)),
        overhead_factor=float(np.clip(rng.lognormal(0.0, 0.10), 0.75, 1.35)),
        prefill_mfu=float(rng.uniform(0.48, 0.64)),
        sequence_overhead_s=float(rng.uniform(6e-6, 20e-6)),
        request_overhead_s=float(rng.uniform(0.006, 0.025)),
        non_torch_bytes=float(rng.uniform(0.35e9, 0.85e9)),
        graph_bytes=float(rng.uniform(0.2e9, 1.0e9)),
        activation_factor=float(rng.uniform(0.8, 1.3)),
        load_gbps=float(rng.uniform(0.5, 2.5)),
        start_s=float(rng.uniform(25.0, 70.0)),
    )

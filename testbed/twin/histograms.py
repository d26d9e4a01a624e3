"""Bucket edges of vLLM's histograms, and cumulative counts from the times at which values were observed.

Edges: vllm-project/vllm `vllm/v1/metrics/loggers.py` (V1, 0.1x to 0.30).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TIME_TO_FIRST_TOKEN_EDGES = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_EDGES = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    *(0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_LATENCY_EDGES = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0),
    *(60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)


def token_edges(max_model_len: int) -> tuple[float, ...]:
    """1, 2, 5, 10, ... up to `max_model_len`, as vLLM's `build_1_2_5_buckets`."""
    edges: list[float] = []
    scale = 1
    while scale <= max_model_len:
        edges += [float(scale * step) for step in (1, 2, 5) if scale * step <= max_model_len]
        scale *= 10
    return tuple(edges)


def edge_label(edge: float) -> str:
    """How prometheus_client writes `le`: Python's repr of the float, `+Inf` for the last."""
    return "+Inf" if np.isinf(edge) else repr(float(edge))


def cumulative(at: Floats, value: Floats, edges: tuple[float, ...], samples: Floats) -> tuple[Floats, Floats]:
    """`(counts, sums)` at each sample time: counts has a row a sample and a cumulative column an edge plus +Inf."""
    width = len(edges) + 1
    bucket = np.searchsorted(np.asarray(edges, dtype=np.float64), value, side="left")
    sample = np.searchsorted(samples, at, side="left")
    cells = np.bincount(sample * width + bucket, minlength=(len(samples) + 1) * width)
    counts = cells.reshape(-1, width)[: len(samples)].astype(np.float64)
    added = np.bincount(sample, weights=value, minlength=len(samples) + 1)[: len(samples)].astype(np.float64)
    return np.cumsum(np.cumsum(counts, axis=0), axis=1), np.cumsum(added)

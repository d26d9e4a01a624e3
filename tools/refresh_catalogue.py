"""Turn tables of public facts into the catalogue's YAML: `python tools/refresh_catalogue.py DIRECTORY`.

DIRECTORY holds gpu_specs.csv, instances.csv and models.csv, each row with its public source and a confidence. Run by
hand when prices or products change; neither the operator nor its tests need it. What no table holds stands below,
with its source. `models_alike.yaml` is kept by hand and is not touched.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any  # YAML scalars and rows

import yaml

DATA = Path(__file__).parent.parent / "operator" / "gpu_rightsizer" / "catalogue" / "data"
Row = dict[str, Any]

# Provider names of accelerators that are one product whatever the instance; a100 and v100 are told by their memory.
PRODUCT_OF = {
    "t4": "t4",
    "t4g": "t4g",
    "a10g": "a10g",
    "l4": "l4",
    "l40s": "l40s",
    "rtx-pro-4500": "rtx-pro-4500",
    "rtx-pro-server-6000": "rtx-pro-6000-bse",
    "h100": "h100-sxm",
    "h200": "h200-sxm",
    "b200": "b200-sxm",
    "b300": "b300-sxm",
    "inferentia": "inferentia1",
    "inferentia2": "inferentia2",
    "trainium": "trainium1",
    "trainium2": "trainium2",
}
PRODUCT_BY_MEMORY = {
    ("a100", 40960): "a100-40-sxm",
    ("a100", 81920): "a100-80-sxm",
    ("v100", 16384): "v100-16",
    ("v100", 32768): "v100-32",
}
PRODUCT_BY_SHARE = {"0.125": "l4-1of8", "0.25": "l4-1of4", "0.5": "l4-1of2"}
# No estimator knows these accelerators.
SKIPPED = {"qualcomm-ai100", "radeon-pro-v520"}
COUNT_ZERO = (
    "EC2 reports GPU count 0 for this type, so Karpenter does not provision it for pods that ask for nvidia.com/gpu "
    "(aws/karpenter-provider-aws#8368)"
)
# Names that node labels of clouds use (GKE's cloud.google.com/gke-accelerator, Karpenter's instance-gpu-name).
ALIASES = {
    "t4": ["nvidia-tesla-t4"],
    "l4": ["nvidia-tesla-l4", "nvidia-l4"],
    "a100-40-sxm": ["nvidia-tesla-a100"],
    "a100-80-sxm": ["nvidia-a100-80gb"],
    "h100-sxm": ["h100", "nvidia-h100-80gb", "nvidia-h100-mega-80gb"],
    "h200-sxm": ["h200", "nvidia-h200-141gb"],
    "b200-sxm": ["b200"],
    "b300-sxm": ["b300"],
    "rtx-pro-6000-bse": ["nvidia-rtx-pro-6000", "rtx-pro-server-6000"],
    "trainium1": ["trainium"],
    "inferentia1": ["inferentia"],
}
NAMES = {
    "t4": (["Tesla T4"], ["Tesla-T4"]),
    "rtx-pro-4500": (
        ["NVIDIA RTX PRO 4500 Blackwell Server Edition"],
        ["NVIDIA-RTX-PRO-4500-Blackwell-Server-Edition"],
    ),
}
MIG_GUIDE = "NVIDIA MIG User Guide (nvidia-smi mig -lgip), recalled"
# MiB that the driver reports per profile. Where unknown, 91 % of the slice: the least share of any known profile.
MIG_MIB = {
    "a100-40-sxm": {"1g.5gb": 4864, "1g.10gb": 9856, "2g.10gb": 9856, "3g.20gb": 19968, "4g.20gb": 19968},
    "a100-80-sxm": {"1g.10gb": 9728, "1g.20gb": 19968, "2g.20gb": 19968, "3g.40gb": 40192, "4g.40gb": 40192},
    "h100-sxm": {"1g.10gb": 9856, "1g.20gb": 19968, "2g.20gb": 19968, "3g.40gb": 40192, "4g.40gb": 40192},
    "h200-sxm": {"1g.18gb": 16384, "1g.35gb": 33280, "2g.35gb": 33280, "3g.71gb": 70656, "4g.71gb": 70656},
}
LEAST_SLICE_SHARE = 0.91

T4_LIKE = {"architecture": "turing", "compute_capability": "7.5", "tflops_bf16": 65, "tflops_int8": 130}
EXTRA_ACCELERATORS: list[Row] = [
    {
        "key": "t4g",
        "product": "NVIDIA-T4G",
        "vendor": "nvidia",
        **T4_LIKE,
        "memory_mib": 15360,
        "bandwidth_gbps": 320,
        "link": "PCIe3 x16",
        "link_gbps": 16,
        "dcgm_names": ["NVIDIA T4G"],
        "gfd_products": ["NVIDIA-T4G"],
        "source": "as Tesla T4; AWS g5g page",
        "confidence": "Recalled",
    },
    {
        "key": "inferentia1",
        "product": "AWS-Inferentia",
        "vendor": "aws",
        "architecture": "neuroncore-v1",
        "memory_mib": 8192,
        "bandwidth_gbps": 54,
        "tflops_bf16": 64,
        "tflops_int8": 128,
        "link": "NeuronLink-v1",
        "dcgm_names": [],
        "gfd_products": [],
        "source": "AWS Neuron documentation, Inf1 architecture",
        "confidence": "Recalled",
    },
]


def accelerators(rows: list[Row]) -> list[Row]:
    """Every accelerator of the table, those that no table holds, and the fractions of an L4 that EC2 sells."""
    found = [_accelerator(row) for row in rows]
    l4 = next(each for each in found if each["key"] == "l4")
    fractions = [
        _fraction(l4, "l4-1of8", 8, 2861),
        _fraction(l4, "l4-1of4", 4, 5722),
        _fraction(l4, "l4-1of2", 2, 11444),
    ]
    return [_without_nothing(each) for each in [*found, *EXTRA_ACCELERATORS, *fractions]]


def _accelerator(row: Row) -> Row:
    key = row["key"]
    dcgm, gfd = NAMES.get(key, _names(row))
    entry = {
        "key": key,
        "product": _product(row, gfd),
        "vendor": row["vendor"],
        "architecture": row["arch"],
        "compute_capability": row["compute_cap"] if re.fullmatch(r"\d+\.\d", row["compute_cap"]) else None,
        "memory_mib": int(row["fb_total_mib"]),
        "bandwidth_gbps": _number(row["mem_bw_gbps"]),
        "tflops_bf16": _number(row["bf16_fp16_dense_tflops"]),
        "tflops_fp8": _number(row["fp8_dense_tflops"]),
        "tflops_int8": _number(row["int8_dense_tops"]),
        "tflops_fp4": _number(row["fp4_dense_tflops"]),
        "link": row["interconnect"] or "unknown",
        "link_gbps": _number(row["intra_node_gbps_per_dir"]),
        "mig": _mig(key, int(row["fb_total_mib"]), row["mig_profiles"]),
        "dcgm_names": dcgm,
        "gfd_products": gfd,
        "aliases": ALIASES.get(key, []),
        "source": f"memory: {row['fb_total_source']}; speed: {row['spec_source']}",
        "confidence": _confidence(row["confidence"]),
    }
    return entry | (_rtx_pro_4500(row) if key == "rtx-pro-4500" else {})


def _rtx_pro_4500(row: Row) -> Row:
    """Bandwidth and power as published; FLOPS as the RTX PRO 6000's share of SMs (82 of 188), less 10 % for 165 W."""
    return {
        "bandwidth_gbps": 800,
        "tflops_bf16": 183,
        "tflops_fp8": 366,
        "tflops_int8": 366,
        "tflops_fp4": 732,
        "link": "PCIe5 x16",
        "link_gbps": 64,
        "source": f"memory: {row['fb_total_source']}; bandwidth: exxactcorp.com RTX PRO 4500 Blackwell Server Edition "
        "LLM benchmark (2026-05-20); FLOPS scaled from RTX PRO 6000 by SMs",
        "confidence": "Computed",
    }


def _fraction(whole: Row, key: str, parts: int, memory_mib: int) -> Row:
    """A slice of an accelerator as EC2 sells it; bandwidth and FLOPS taken in proportion."""
    speeds = ("bandwidth_gbps", "tflops_bf16", "tflops_fp8", "tflops_int8")
    return whole | {speed: round(whole[speed] / parts, 3) for speed in speeds} | {
        "key": key,
        "product": f"{whole['product']}-1of{parts}",
        "memory_mib": memory_mib,
        "dcgm_names": [],
        "gfd_products": [],
        "aliases": [],
        "source": "EC2 API memory (karpenter-provider-aws@1d92708 instance-types.md); speed in proportion",
        "confidence": "Computed",
    }  # fmt: skip


def _names(row: Row) -> tuple[list[str], list[str]]:
    if row["vendor"] == "nvidia":
        return [row["dcgm_modelName"]], [row["gfd_product_label"]] if row["gfd_product_label"] else []
    amd = re.search(r"product-name=(\w+)", row["gfd_product_label"])
    return ([], [amd.group(1)]) if amd else ([], [])


def _product(row: Row, gfd: list[str]) -> str:
    if gfd and row["vendor"] == "nvidia":
        return gfd[0]
    named = {"inferentia2": "AWS-Inferentia2", "trainium1": "AWS-Trainium", "trainium2": "AWS-Trainium2"}
    if row["key"] in named:
        return named[row["key"]]
    return str(row["dcgm_modelName"].replace(" ", "-") if row["vendor"] == "amd" and not gfd else row["key"])


def _mig(key: str, memory_mib: int, text: str) -> list[Row]:
    """`1g.5gb(x7);2g.10gb(x3)`; a list with an ellipsis is not known and is left out."""
    found = re.findall(r"(\d)g\.(\d+)gb\(x(\d)\)", text)
    if not found or "..." in text:
        return []
    full = int(found[-1][1])
    slices = 8 if found[-1][0] == "7" else 4
    known = MIG_MIB.get(key, {})
    profiles = []
    for compute, size, most in found:
        name = f"{compute}g.{size}gb"
        taken = min(slices, max(1, round(int(size) / full * slices)))
        mib = known.get(name, int(memory_mib * taken / slices * LEAST_SLICE_SHARE))
        profiles.append(
            {
                "name": name,
                "memory_mib": mib,
                "compute_slices": int(compute),
                "memory_slices": taken,
                "per_device": int(most),
            }
        )
    return profiles


def instances(rows: list[Row]) -> list[Row]:
    """AWS types of us-east-1 with an accelerator that the catalogue knows."""
    kept = [
        row
        for row in rows
        if row["provider"] == "aws" and row["region"] == "us-east-1" and row["accelerator"] not in SKIPPED
    ]
    return [_without_nothing(_instance(row)) for row in kept]


def _instance(row: Row) -> Row:
    name, share = row["instance_type"], row["accelerator_count"]
    neuron = row["accelerator"].startswith(("inferentia", "trainium"))
    by_memory = PRODUCT_BY_MEMORY.get((row["accelerator"], int(row["accelerator_mem_mib_each"])))
    return {
        "name": name,
        "accelerator": PRODUCT_BY_SHARE.get(share) or by_memory or PRODUCT_OF[row["accelerator"]],
        "accelerators": 1 if share in PRODUCT_BY_SHARE else int(share),
        "resource": "aws.amazon.com/neuron" if neuron else "nvidia.com/gpu",
        "cpu": int(row["vcpu"]),
        "memory_gib": _number(row["ram_gib"]),
        "architecture": "arm64" if name.startswith("g5g.") else "amd64",
        "hourly_usd": row["ondemand_usd_per_hour"] or None,
        "provisionable": "No" if share in PRODUCT_BY_SHARE or name == "p5.4xlarge" else None,
        "caveat": COUNT_ZERO if share in PRODUCT_BY_SHARE or name == "p5.4xlarge" else None,
        "confidence": "Recalled" if "recalled" in row["confidence"] else "Verified",
    }


def models(rows: list[Row]) -> list[Row]:
    """Every model of the table, and those that it lacks."""
    return [_without_nothing(_model(row)) for row in rows] + MORE_MODELS


def _model(row: Row) -> Row:
    official, computed = _number(row["params_official_b"]), _number(row["params_total_computed_b"])
    total = max(official or 0, computed or 0)
    kv = int(row["kv_bytes_per_token_bf16"])
    entry = {
        "name": row["model"],
        "parameters_b": total,
        "active_parameters_b": _number(row["params_active_computed_b"]) if row["moe"] == "yes" else total,
        "layers": int(row["layers"]),
        "hidden": int(row["hidden"]),
        "heads": int(row["heads"]),
        "kv_heads": int(row["kv_heads"]),
        "head_dim": int(row["head_dim"]),
        "vocabulary": int(row["vocab"]),
        "dtype": {"bf16": "bfloat16", "fp8": "fp8", "fp16/fp32": "float16"}.get(row["default_dtype"], "mxfp4"),
        "max_context": int(row["max_context"]),
        "kv_bytes_per_token": kv,
        "kv_replicated": row["mla"] == "yes" or None,
        "experts": int(row["experts"]) if row["experts"] else None,
        "experts_per_token": int(row["experts_per_tok"]) if row["experts_per_tok"] else None,
        "generative": None if kv else False,
        "source": row["source"],
        "confidence": _confidence(row["confidence"]),
    }
    return entry | WINDOWS.get(row["model"], {}) | CORRECTIONS.get(row["model"], {})


# MiniMax-M2 and its successors: SGLang and MiniMax's own modelling code (62 layers, 48 heads over 8, 256 experts, 8 a
# token); parameters computed. Kimi-K2.5: aiconfigurator model_configs, the text part, int4 as published.
MORE_MODELS: list[Row] = [
    {
        "name": "MiniMaxAI/MiniMax-M2.5", "parameters_b": 228.7, "active_parameters_b": 10.98, "layers": 62,
        "hidden": 3072, "heads": 48, "kv_heads": 8, "head_dim": 128, "vocabulary": 200064, "dtype": "fp8",
        "max_context": 196608, "kv_bytes_per_token": 253952, "experts": 256, "experts_per_token": 8,
        "source": "modelling code of MiniMax-M2; parameters computed", "confidence": "Computed",
    },
    {
        "name": "moonshotai/Kimi-K2.5", "parameters_b": 1026.407, "active_parameters_b": 32.86, "layers": 61,
        "hidden": 7168, "heads": 64, "kv_heads": 64, "head_dim": 128, "vocabulary": 163840, "dtype": "int4",
        "max_context": 262144, "kv_bytes_per_token": 70272, "kv_replicated": True, "experts": 384,
        "experts_per_token": 8, "source": "aiconfigurator model_configs, text part", "confidence": "Computed",
    },
]  # fmt: skip

# Of each model's config.json: sliding_window and layer_types (gpt-oss and Gemma 2: every other layer; Gemma 3: five of
# six; Phi-3-mini: all), attention_chunk_size and no_rope_layers (Llama 4: three of four in chunks).
WINDOWS: dict[str, Row] = {
    name: {"sliding_window": window, "windowed_layers": layers}
    for name, window, layers in (
        ("google/gemma-2-2b-it", 4096, 13),
        ("google/gemma-2-9b-it", 4096, 21),
        ("google/gemma-2-27b-it", 4096, 23),
        ("google/gemma-3-1b-it", 512, 22),
        ("google/gemma-3-4b-it", 1024, 29),
        ("google/gemma-3-12b-it", 1024, 40),
        ("google/gemma-3-27b-it", 1024, 52),
        ("microsoft/Phi-3-mini-4k-instruct", 2047, 32),
        ("openai/gpt-oss-20b", 128, 12),
        ("openai/gpt-oss-120b", 128, 18),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8192, 36),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 8192, 36),
    )
}

# e5-mistral: the table's own note (kv_heads = 8); gpt-oss: size of the published checkpoints, whose dense part is bf16.
CORRECTIONS: dict[str, Row] = {
    "intfloat/e5-mistral-7b-instruct": {"kv_heads": 8, "kv_bytes_per_token": 131072},
    "openai/gpt-oss-20b": {"checkpoint_gb": 13.8},
    "openai/gpt-oss-120b": {"checkpoint_gb": 65.3},
}


def _confidence(text: str) -> str:
    if text.startswith("V;") or text in {"verified", "arch verified", "mostly verified; BW recalled"}:
        return "Verified"
    return "Computed" if text == "arch of base verified" else "Recalled"


def _number(text: str) -> float | int | None:
    if not text:
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def _without_nothing(row: Row) -> Row:
    return {key: value for key, value in row.items() if value is not None and value != []}


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(name: str, intro: str, head: Row, rows: list[Row]) -> None:
    lines = [f"# {intro}", "# Generated by tools/refresh_catalogue.py; do not edit.", ""]
    lines += [yaml.safe_dump(head, sort_keys=False, width=10_000).rstrip(), f"{name}:"]
    lines += [
        "- " + yaml.safe_dump(row, sort_keys=False, default_flow_style=True, width=1_000_000).rstrip() for row in rows
    ]
    (DATA / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write the three generated files."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: refresh_catalogue.py DIRECTORY")
    source = Path(sys.argv[1])
    _write(
        "accelerators",
        "Accelerators: memory as the driver reports it (MiB), bandwidth in GB/s, dense TFLOPS.",
        {"as_of": "2026-08-21", "mig_source": MIG_GUIDE},
        accelerators(_read(source / "gpu_specs.csv")),
    )
    _write(
        "instances",
        "AWS instance types and their on-demand prices in us-east-1.",
        {
            "as_of": "2026-07-20",
            "region": "us-east-1",
            "source": "karpenter-provider-aws@1d92708 zz_generated.pricing_aws.go (generated 2026-07-20) and "
            "instance-types.md",
            "factors_source": "skypilot-catalog@00148f2 v8/aws/vms.csv (constant within the family)",
            "factors": {
                "eu-central-1": {"g6": "1.2505"},
                "eu-north-1": {"g6": "1.0606"},
                "eu-west-2": {"g6": "1.2694"},
                "eu-west-3": {"g6": "1.2694"},
            },
        },
        instances(_read(source / "instances.csv")),
    )
    _write(
        "models",
        "Models: parameters in billions, KV bytes per token at two bytes an element over all layers and heads.",
        {"as_of": "2026-08-21"},
        models(_read(source / "models.csv")),
    )


if __name__ == "__main__":
    main()

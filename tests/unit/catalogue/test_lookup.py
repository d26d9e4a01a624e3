"""Accelerators, prices and models are found by the names the world uses, and nothing is guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpu_rightsizer.catalogue import load
from gpu_rightsizer.catalogue.lookup import is_shared_product, mig_profile
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal


def found(name: str) -> ModelArchitecture:
    model = load().model(name)
    assert isinstance(model, ModelArchitecture), name
    return model


@pytest.mark.parametrize(
    ("name", "billions", "dtype"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8.03, "bfloat16"),
        ("META-LLAMA/llama-3.1-8b-instruct", 8.03, "bfloat16"),
        ("Llama-3.1-8B-Instruct", 8.03, "bfloat16"),
        ("meta-llama/Meta-Llama-3.1-8B", 8.03, "bfloat16"),
        ("/models/llama-3.1-8b-instruct/", 8.03, "bfloat16"),
        ("s3://bucket/models/Llama-3.1-8B-Instruct", 8.03, "bfloat16"),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/abc123", 8.191, "bfloat16"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", 8.03, "fp8"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 70.554, "fp8"),
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-quantized.w8a8", 70.554, "int8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", 8.03, "int4"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", 8.03, "int4"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", 7.62, "int4"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", 7.62, "int8"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 72.71, "int4"),
        ("Qwen/Qwen3-32B-FP8", 32.762, "fp8"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", 8.03, "int4"),
        ("unsloth/Llama-3.3-70B-Instruct-unsloth-bnb-4bit", 70.554, "int4"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", 8.03, "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", 70.554, "nvfp4"),
        ("Llama-3.1-8B-Instruct-Q4_K_M.gguf", 8.03, "int8"),  # overstated: no GGUF width is trusted
        ("unsloth/gpt-oss-20b-BF16", 20.908, "bfloat16"),
        ("meta-llama/Llama-2-7b-chat-hf", 6.74, "bfloat16"),
        ("deepseek-ai/DeepSeek-V3-0324", 671.025, "fp8"),
        ("BAAI/bge-m3", 0.568, "float16"),
    ],
)
def test_a_model_by_its_many_names(name: str, billions: float, dtype: str) -> None:
    model = found(name)
    assert model.parameters == pytest.approx(billions * 1e9, rel=1e-9)
    assert model.default_dtype == dtype


@pytest.mark.parametrize(
    "name",
    ["", "/mnt/models", "acme/Llama-3.1-8B-Instruct-Legal", "my-llama-3.1-8b", "llama", "Llama-3.1-9B-Instruct", "FP8"],
)
def test_an_unknown_model_is_missing(name: str) -> None:
    assert load().model(name) == Missing(Signal.MODEL, MissingReason.NOT_FOUND, name)


def test_a_derivative_keeps_its_name_and_is_trusted_less() -> None:
    model = found("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8")
    assert model.name == "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8"
    assert (found("meta-llama/Llama-3.1-8B-Instruct").confidence, model.confidence) == (
        Confidence.VERIFIED,
        Confidence.COMPUTED,
    )


def test_a_checkpoint_size_holds_only_for_its_own_type() -> None:
    assert found("openai/gpt-oss-20b").checkpoint_bytes == 13_800_000_000
    assert found("unsloth/gpt-oss-20b").checkpoint_bytes == 13_800_000_000
    assert found("unsloth/gpt-oss-20b-BF16").checkpoint_bytes is None


def test_context_is_the_named_models_not_the_bases() -> None:
    assert found("meta-llama/Meta-Llama-3-8B").max_context == 8192
    assert found("Qwen/Qwen3-4B-Instruct-2507").max_context == 262144


@pytest.mark.parametrize(
    ("product", "key"),
    [
        ("NVIDIA-A10G", "a10g"),
        ("NVIDIA A10G", "a10g"),
        ("Tesla T4", "t4"),
        ("Tesla-T4", "t4"),
        ("NVIDIA-H100-80GB-HBM3", "h100-sxm"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "h100-sxm"),
        ("A100-SXM4-40GB", "a100-40-sxm"),
        ("NVIDIA-L4-SHARED", "l4"),
        ("nvidia-l4", "l4"),
        ("nvidia-tesla-a100", "a100-40-sxm"),
        ("AMD_Instinct_MI300X_OAM", "mi300x"),
        ("AWS-Inferentia2", "inferentia2"),
        ("trainium", "trainium1"),
        ("h100-sxm", "h100-sxm"),
    ],
)
def test_an_accelerator_by_its_many_names(product: str, key: str) -> None:
    accelerator = load().accelerator_by_product(product)
    assert accelerator is not None
    assert accelerator.key == key


@pytest.mark.parametrize("product", ["", "a100", "NVIDIA-A100", "NVIDIA-B9000", "L40"])
def test_an_ambiguous_or_unknown_accelerator_is_not_guessed(product: str) -> None:
    assert load().accelerator_by_product(product) is None


def test_what_a_product_label_says_of_sharing() -> None:
    assert is_shared_product("NVIDIA-L4-SHARED")
    assert not is_shared_product("NVIDIA-L4")
    assert mig_profile("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb") == "1g.5gb"
    assert mig_profile("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED") == "1g.5gb"
    assert mig_profile("NVIDIA-A100-SXM4-40GB") == ""


def test_a_price_elsewhere_is_scaled_or_unknown() -> None:
    scaled = load().instance("g6.xlarge", "eu-central-1")
    assert scaled is not None
    assert scaled.price is not None
    assert scaled.region == "eu-central-1"
    assert scaled.price.hourly == Decimal("1.0064")
    assert "1.2505" in scaled.price.source
    unknown = load().instance("g5.xlarge", "eu-central-1")
    assert unknown is not None
    assert unknown.price is None


def test_a_price_at_home_is_as_listed() -> None:
    assert load().instance("g6.xlarge", "us-east-1") is load().instances["g6.xlarge"]
    assert load().instance("m5.large") is None

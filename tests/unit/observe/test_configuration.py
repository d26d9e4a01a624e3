"""A pod template as configuration: the container, its model and weights, and what a replica asks."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.catalogue import load
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import gib, mib
from gpu_rightsizer.domain.workload import Overrides
from gpu_rightsizer.observe.configuration import Configuration, read_configuration
from tests.unit.observe.manifest_builders import LLAMA, container


def read(
    *containers: dict[str, Any], wanted: str = "", overrides: Overrides | None = None, **spec: Any
) -> Configuration:
    template = {"containers": list(containers), **spec}
    return read_configuration(template, load(), container=wanted, overrides=overrides or Overrides())


def model_of(configuration: Configuration) -> ModelArchitecture:
    assert isinstance(configuration.model, ModelArchitecture)
    return configuration.model


def test_a_plain_template() -> None:
    found = read(container(args=[*LLAMA, "--max-model-len", "8192"]))
    assert (found.container, found.engine) == ("vllm", EngineType.VLLM)
    assert model_of(found).name == "meta-llama/Llama-3.1-8B-Instruct"
    assert found.settings.max_model_len == 8192
    assert (found.pod.cpu, found.pod.memory, found.pod.accelerators, found.pod.resource) == (
        4000,
        gib(16),
        1,
        "nvidia.com/gpu",
    )


def test_without_a_limit_the_context_is_the_models() -> None:
    found = read(container(args=LLAMA))
    assert found.settings.max_model_len == 131072
    assert "max_model_len" not in found.settings.explicit


def test_the_container_with_accelerators_serves() -> None:
    found = read(container("proxy", gpus=0), container("server", args=LLAMA), container("metrics", gpus=0))
    assert found.container == "server"


def test_the_named_container_serves() -> None:
    found = read(container("a", args=LLAMA), container("b", args=["--model", "Qwen/Qwen3-8B"]), wanted="b")
    assert found.container == "b"
    assert model_of(found).name == "Qwen/Qwen3-8B"


def test_the_first_container_serves_when_none_has_accelerators() -> None:
    assert read(container("one", gpus=0, args=LLAMA), container("two", gpus=0)).container == "one"


def test_a_named_container_that_is_not_there() -> None:
    found = read(container(args=LLAMA), wanted="vlm")
    assert found.engine == Missing(Signal.CONTAINER, MissingReason.NOT_FOUND, "vllm")
    assert found.model == Missing(Signal.MODEL, MissingReason.NOT_FOUND, "vllm")
    assert found.pod.accelerators == 1


def test_two_containers_with_accelerators_need_a_name() -> None:
    found = read(container("b"), container("a"))
    assert found.engine == Missing(Signal.CONTAINER, MissingReason.CONTRADICTORY, "a, b")
    assert found.container == ""


def test_an_unknown_model_is_missing_by_its_name() -> None:
    found = read(container(args=["--model", "/mnt/models"]))
    assert found.model == Missing(Signal.MODEL, MissingReason.NOT_FOUND, "/mnt/models")
    assert found.settings.max_model_len is None


def test_a_path_is_known_by_the_name_it_is_served_under() -> None:
    found = read(container(args=["--model", "/mnt/models", "--served-model-name", "Qwen/Qwen3-8B"]))
    assert model_of(found).name == "Qwen/Qwen3-8B"
    assert found.settings.model_name == "/mnt/models"


@pytest.mark.parametrize(
    ("args", "settings_dtype", "model_dtype"),
    [
        (["--model", "Qwen/Qwen3-8B"], None, "bfloat16"),
        (["--model", "Qwen/Qwen3-8B", "--dtype", "half"], "float16", "bfloat16"),
        (["--model", "Qwen/Qwen3-8B", "--dtype", "auto"], None, "bfloat16"),
        (["--model", "Qwen/Qwen3-8B-FP8", "--dtype", "bfloat16"], None, "fp8"),
        (["--model", "Qwen/Qwen3-8B", "--quantization", "fp8", "--dtype", "bfloat16"], "fp8", "bfloat16"),
        (["--model", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "--quantization", "gptq"], None, "int8"),
        (["--model", "Qwen/Qwen2.5-7B-Instruct", "--quantization", "gptq_marlin"], "int4", "bfloat16"),
    ],
)
def test_how_weights_are_stored(args: list[str], settings_dtype: str | None, model_dtype: str) -> None:
    found = read(container(args=args))
    assert found.settings.weight_dtype == settings_dtype
    assert model_of(found).default_dtype == model_dtype
    assert found.settings.unread == ()


def test_a_format_that_says_no_type_is_unread() -> None:
    found = read(container(args=["--model", "Qwen/Qwen3-8B", "--quantization", "compressed-tensors"]))
    assert found.settings.unread == ("--quantization=compressed-tensors",)


def test_what_the_user_declares_wins() -> None:
    overrides = Overrides(EngineType.SGLANG, "Qwen/Qwen3-8B", 9e9, WeightDtype.FP8, 4096)
    found = read(container(args=LLAMA), overrides=overrides)
    model = model_of(found)
    assert found.engine is EngineType.SGLANG
    assert (model.name, model.parameters, model.confidence) == ("Qwen/Qwen3-8B", 9e9, Confidence.DECLARED)
    assert (found.settings.weight_dtype, found.settings.max_model_len) == (WeightDtype.FP8, 4096)
    assert found.settings.explicit >= {"weight_dtype", "max_model_len"}


def test_declared_parameters_scale_the_active_ones() -> None:
    args = ["--model", "Qwen/Qwen3-30B-A3B"]
    plain, declared = (
        model_of(read(container(args=args))),
        model_of(read(container(args=args), overrides=Overrides(parameters=61.064e9))),
    )
    assert declared.active_parameters == pytest.approx(2 * plain.active_parameters)


def test_parameters_alone_do_not_make_a_model() -> None:
    found = read(container(args=["--model", "/mnt/models"]), overrides=Overrides(parameters=8e9))
    assert isinstance(found.model, Missing)


def limits(**resources: str) -> dict[str, Any]:
    return {"name": "x", "resources": {"requests": {key.replace("_", "-"): value for key, value in resources.items()}}}


def test_requests_follow_the_schedulers_rule() -> None:
    found = read(
        container(),
        limits(cpu="500m", memory="1Gi"),
        initContainers=[
            limits(cpu="1", memory="2Gi") | {"restartPolicy": "Always"},
            limits(cpu="6", memory="8Gi", ephemeral_storage="20Gi"),
        ],
        overhead={"cpu": "250m", "memory": "120Mi"},
    )
    # running: 4 + 0.5 + sidecar 1; starting: sidecar 1 + 6
    assert found.pod.cpu == 7000 + 250
    assert found.pod.memory == gib(16 + 1 + 2) + mib(120)
    assert found.pod.ephemeral_storage == gib(20)


def test_a_limit_without_a_request_is_the_request() -> None:
    found = read({"name": "x", "resources": {"limits": {"cpu": "3", "memory": "2G", "nvidia.com/gpu": 2}}})
    assert (found.pod.cpu, found.pod.memory, found.pod.accelerators) == (3000, 2_000_000_000, 2)


def test_pod_level_resources_stand_for_the_sum() -> None:
    found = read(container(), resources={"requests": {"cpu": "10", "memory": "64Gi"}})
    assert (found.pod.cpu, found.pod.memory, found.pod.accelerators) == (10_000, gib(64), 1)


@pytest.mark.parametrize(
    "resource",
    ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore", "amd.com/gpu"],
)
def test_accelerators_of_every_kind(resource: str) -> None:
    found = read({"name": "x", "resources": {"limits": {resource: "2"}}})
    assert (found.pod.resource, found.pod.accelerators, found.pod.other) == (resource, 2, {})


def test_further_resources_are_kept() -> None:
    more = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "512Mi"}
    found = read({"name": "x", "resources": {"limits": more}})
    assert found.pod.other == {"vpc.amazonaws.com/efa": 32, "hugepages-2Mi": mib(512)}


def test_a_resource_claim_is_something_no_class_offers() -> None:
    found = read(container(gpus=0), resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}])
    assert found.pod.other == {"resource.k8s.io/claim": 1}


def test_shared_memory_is_memory() -> None:
    volumes = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
        {"name": "cache", "emptyDir": {"sizeLimit": "100Gi"}},
        {"name": "endless", "emptyDir": {"medium": "Memory"}},
    ]
    assert read(container(), volumes=volumes).pod.shared_memory == gib(8)


@pytest.mark.parametrize("spec", [{}, {"containers": None}, {"containers": [None, 3]}, {"containers": "x"}])
def test_a_misshapen_template_is_missing_not_an_error(spec: dict[str, Any]) -> None:
    found = read_configuration(spec, load())
    assert found.engine == Missing(Signal.ENGINE, MissingReason.NOT_FOUND, "containers")
    assert found.pod.accelerators == 0

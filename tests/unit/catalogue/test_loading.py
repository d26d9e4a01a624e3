"""The packaged catalogue is whole, dated and sourced; a broken one says where."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal

import pytest

from gpu_rightsizer.catalogue import InvalidCatalogue, load
from gpu_rightsizer.catalogue.loading import build, packaged
from gpu_rightsizer.domain.hardware import Commitment, Origin, Provisionable, Vendor
from gpu_rightsizer.domain.models import Confidence, WeightDtype
from gpu_rightsizer.domain.units import gib, mib

FILES = ("accelerators", "instances", "models", "models_alike")


def broken(name: str, old: str, new: str) -> dict[str, str]:
    texts = {each: packaged(each) for each in FILES}
    assert old in texts[name]
    return texts | {name: texts[name].replace(old, new, 1)}


def test_every_entry_has_a_source_and_a_confidence() -> None:
    catalogue = load()
    for accelerator in catalogue.accelerators.values():
        assert accelerator.source
        assert accelerator.confidence is not None
    for model in catalogue.models.values():
        assert model.source
    for instance in catalogue.instances.values():
        assert instance.confidence is not None
        assert instance.price is None or (instance.price.source and instance.price.as_of == date(2026, 7, 20))


def test_memory_is_what_the_driver_reports_not_what_ec2_does() -> None:
    catalogue = load()
    assert catalogue.instances["g6.xlarge"].accelerator_memory == mib(23034)  # EC2 says 22888
    assert catalogue.instances["g6e.xlarge"].accelerator_memory == mib(46068)  # EC2 says 45776
    assert catalogue.instances["p5en.48xlarge"].accelerator_memory == mib(143771)  # EC2 says 144384


@pytest.mark.parametrize(
    ("name", "accelerator", "count", "hourly"),
    [
        ("g4dn.xlarge", "t4", 1, "0.526"),
        ("g5.12xlarge", "a10g", 4, "5.672"),
        ("g6e.xlarge", "l40s", 1, "1.861"),
        ("g7e.2xlarge", "rtx-pro-6000-bse", 1, "3.36312"),
        ("p4d.24xlarge", "a100-40-sxm", 8, "21.957642"),
        ("p4de.24xlarge", "a100-80-sxm", 8, "27.44705"),
        ("p5.48xlarge", "h100-sxm", 8, "55.04"),
        ("p3dn.24xlarge", "v100-32", 8, "31.212"),
        ("inf2.xlarge", "inferentia2", 1, "0.7582"),
        ("trn1.32xlarge", "trainium1", 16, "21.5"),
    ],
)
def test_instance_types(name: str, accelerator: str, count: int, hourly: str) -> None:
    instance = load().instances[name]
    assert (instance.accelerator.key, instance.accelerators) == (accelerator, count)
    assert instance.price is not None
    assert instance.price.hourly == Decimal(hourly)
    assert instance.price.commitment is Commitment.ON_DEMAND
    assert instance.origin is Origin.CATALOGUE
    assert instance.node_selector == {"node.kubernetes.io/instance-type": name}


def test_host_shapes_and_resources() -> None:
    catalogue = load()
    host = catalogue.instances["g6e.xlarge"].host
    assert (host.cpu, host.memory, host.ephemeral_storage, host.architecture) == (4000, gib(32), None, "amd64")
    assert catalogue.instances["g5g.xlarge"].host.architecture == "arm64"
    assert catalogue.instances["inf2.xlarge"].resource == "aws.amazon.com/neuron"
    assert catalogue.instances["inf2.xlarge"].accelerator.vendor is Vendor.AWS


def test_no_price_is_unknown_not_zero() -> None:
    assert load().instances["p5e.48xlarge"].price is None
    assert load().instances["trn2.48xlarge"].price is None


@pytest.mark.parametrize("name", ["g6f.large", "g6f.4xlarge", "gr6f.4xlarge", "p5.4xlarge"])
def test_types_with_gpu_count_zero_cannot_be_provisioned(name: str) -> None:
    instance = load().instances[name]
    assert instance.provisionable is Provisionable.NO
    assert "aws/karpenter-provider-aws#8368" in instance.caveat


def test_all_other_types_may_be_provisionable() -> None:
    others = [each for each in load().instances.values() if not each.caveat]
    assert len(others) > 60
    assert {each.provisionable for each in others} == {Provisionable.UNKNOWN}


def test_mig_profiles_never_hold_more_than_their_share() -> None:
    for accelerator in load().accelerators.values():
        most = max((profile.memory_slices for profile in accelerator.mig_profiles), default=0)
        for profile in accelerator.mig_profiles:
            assert profile.memory <= accelerator.memory * profile.memory_slices / most
            assert profile.memory > accelerator.memory * profile.memory_slices / most * 0.85
            assert profile.per_device * profile.memory_slices <= most + profile.memory_slices


def test_mig_of_an_a100() -> None:
    profiles = {each.name: each for each in load().accelerators["a100-40-sxm"].mig_profiles}
    assert profiles["1g.5gb"].memory == mib(4864)
    assert (profiles["3g.20gb"].compute_slices, profiles["3g.20gb"].memory_slices) == (3, 4)
    assert profiles["1g.10gb"].memory_slices == 2


def test_mixed_checkpoints_carry_their_size() -> None:
    model = load().models["openai/gpt-oss-120b"]
    assert model.checkpoint_bytes == 65_300_000_000
    assert model.default_dtype is WeightDtype.MXFP4


def test_models_agree_with_their_own_architecture() -> None:
    """KV bytes per token follow from layers, heads and head size, except where the cache is latent or absent."""
    for model in load().models.values():
        if model.kv_bytes_per_token and not model.kv_replicated:
            assert model.kv_bytes_per_token == 2 * 2 * model.layers * model.kv_heads * model.head_dim, model.name
        assert model.active_parameters <= model.parameters
        assert model.generative == (model.kv_bytes_per_token > 0) or not model.generative


@pytest.mark.parametrize(
    ("name", "window", "layers"),
    [
        ("openai/gpt-oss-120b", 128, 18),
        ("google/gemma-3-27b-it", 1024, 52),
        ("mistralai/Mistral-7B-Instruct-v0.1", 4096, 32),
        ("meta-llama/Llama-3.1-8B-Instruct", 0, 0),
    ],
)
def test_windows_are_those_of_the_published_configurations(name: str, window: int, layers: int) -> None:
    model = load().models[name]
    assert (model.sliding_window, model.windowed_layers) == (window, layers)


def test_no_window_without_layers_that_have_it() -> None:
    for model in load().models.values():
        assert (model.sliding_window > 0) == (model.windowed_layers > 0)
        assert model.windowed_layers <= model.layers


def test_alike_models_say_what_they_were_taken_from() -> None:
    model = load().models["meta-llama/Meta-Llama-3-8B-Instruct"]
    assert (model.layers, model.max_context, model.confidence) == (32, 8192, Confidence.RECALLED)
    assert "meta-llama/Llama-3.1-8B-Instruct" in model.source


def test_loading_again_costs_nothing() -> None:
    first = load()
    begun = time.perf_counter()
    assert load() is first
    assert time.perf_counter() - begun < 0.05


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("accelerators", "memory_mib: 23034", "memory_mib: much", "accelerators.yaml, l4: `memory_mib`"),
        ("accelerators", "vendor: nvidia", "vendor: acme", "`vendor` must be one of nvidia, aws"),
        ("accelerators", "compute_capability: '7.5'", "compute_capability: 'x'", "a quoted version such as '8.9'"),
        ("instances", "accelerator: t4,", "accelerator: t5,", "instances.yaml, g4dn.xlarge: `accelerator` must be"),
        ("instances", "hourly_usd: '0.526'", "hourly_usd: 0.526", "`hourly_usd` must be a quoted decimal above 0"),
        ("instances", "as_of: '2026-07-20'", "as_of: 'July'", "`as_of` must be a quoted date"),
        ("models", "dtype: bfloat16", "dtype: bf17", "`dtype` must be one of"),
        (
            "models_alike",
            "like: meta-llama/Llama-3.1-8B-Instruct",
            "like: nobody",
            "`like` must be the name of an entry",
        ),
    ],
)
def test_a_broken_entry_is_named(name: str, old: str, new: str, says: str) -> None:
    with pytest.raises(InvalidCatalogue) as raised:
        build(**broken(name, old, new))
    assert says in str(raised.value)


def test_text_that_is_not_yaml() -> None:
    with pytest.raises(InvalidCatalogue, match=r"models\.yaml is not YAML"):
        build(**({each: packaged(each) for each in FILES} | {"models": "models: ["}))

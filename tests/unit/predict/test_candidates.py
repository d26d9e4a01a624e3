"""Candidates: what is tried, what it costs, and what rules it out before physics does."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.hardware import Commitment, InstanceClass, Provisionable
from gpu_rightsizer.domain.need import FramebufferMemory
from gpu_rightsizer.domain.readings import Measured, Signal
from gpu_rightsizer.domain.units import GIB, gib
from gpu_rightsizer.domain.workload import OomKind, PlacementRules, PodShape
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict
from tests import builders as make
from tests.unit.predict.support import all_of, codes, found

if TYPE_CHECKING:
    from gpu_rightsizer.domain.world import World


def test_the_present_configuration_is_the_first_candidate_and_holds() -> None:
    present = all_of(make.world())[0]

    assert present.configuration == make.configuration("p5.48xlarge")
    assert present.holds
    assert present.hourly == Decimal("55.04")


def test_the_present_configuration_is_there_even_when_its_class_is_not_proposed() -> None:
    candidates = all_of(make.world(), [make.BY_NAME["g6e.xlarge"]])

    assert [c.configuration.instance.name for c in candidates] == ["p5.48xlarge", "g6e.xlarge"]


def test_an_unknown_present_class_leaves_only_others() -> None:
    candidates = all_of(make.world(on=make.missing(Signal.INSTANCE_CLASS)))

    assert {c.configuration.instance.name for c in candidates} == set(make.BY_NAME)


def test_every_degree_that_fits_the_instance_is_tried() -> None:
    tried = {(c.configuration.instance.name, c.configuration.tensor_parallel) for c in all_of(make.world())}

    assert {r for n, r in tried if n == "p5.48xlarge"} == {1, 2, 4, 8}
    assert {r for n, r in tried if n == "g6.12xlarge"} == {1, 2, 4}
    assert {r for n, r in tried if n == "g6.xlarge"} == {1}


def test_heads_that_do_not_split_are_said() -> None:
    world = make.world(make.observation(pool=make.pool_tokens(architecture=make.QWEN_7B)), model=make.QWEN_7B)

    assert Code.TENSOR_PARALLEL_IMPOSSIBLE in codes(found(world, "p5.48xlarge", 8))
    assert Code.TENSOR_PARALLEL_IMPOSSIBLE not in codes(found(world, "p5.48xlarge", 4))


@pytest.mark.parametrize(
    ("replicas", "count", "nodes"),
    [(1, 1, 1), (8, 1, 8), (4, 4, 1), (5, 4, 2)],
    ids=str,
)
def test_cost_is_whole_nodes(replicas: int, count: int, nodes: int) -> None:
    where = make.instance("there", make.L40S, count, "2.00", cpu=96, memory_gib=768)
    world = make.world(replicas=replicas)

    assert found(world, "there", classes=[where]).hourly == Decimal(2) * nodes


def test_cost_adds_what_invoices_add() -> None:
    where = make.instance("there", make.L40S, 1, "2.00", overhead="0.25")

    assert found(make.world(), "there", classes=[where]).hourly == Decimal("2.50")


def test_replicas_on_one_node_share_its_host() -> None:
    """Four accelerators, but memory for two pods: four replicas need two nodes."""
    where = make.instance("there", make.L40S, 4, "2.00", cpu=96, memory_gib=128)
    world = make.world(replicas=4, pod=make.pod(memory_gib=50))

    assert found(world, "there", classes=[where]).hourly == Decimal("4.00")


def test_more_replicas_share_the_load_within_the_rules() -> None:
    world = make.world(rules=PlacementRules(min_replicas=1, max_replicas=3))
    one, three = (found(world, "g6e.xlarge", replicas=n) for n in (1, 3))

    assert one.prediction.kv_demand_tokens is not None
    assert three.prediction.kv_demand_tokens is not None
    assert three.prediction.kv_demand_tokens < one.prediction.kv_demand_tokens / 2
    assert three.hourly == 3 * one.hourly  # type: ignore[operator]  # both have a price


@pytest.mark.parametrize(
    ("now", "least", "most", "proposed"),
    [
        (4, None, 2, {2}),
        (4, 1, 2, {1, 2}),
        (1, 2, None, {2}),
        (1, 3, 4, {3, 4}),
        (2, None, 4, {2, 3, 4}),
        (2, 1, None, {1, 2}),
        (2, None, None, {2}),
    ],
)
def test_no_number_of_replicas_outside_the_bounds_is_proposed(
    now: int, least: int | None, most: int | None, proposed: set[int]
) -> None:
    world = make.world(replicas=now, rules=PlacementRules(min_replicas=least, max_replicas=most))
    present, *others = all_of(world)

    assert present.configuration.replicas == now
    assert {each.configuration.replicas for each in others} == proposed


def test_an_autoscaler_keeps_its_replicas() -> None:
    world = make.world(
        rules=PlacementRules(min_replicas=1, max_replicas=3), replicas_owner="HorizontalPodAutoscaler/chat"
    )

    assert {c.configuration.replicas for c in all_of(world)} == {1}


@pytest.mark.parametrize(
    ("there", "rules", "code"),
    [
        (make.instance("x", make.L40S), PlacementRules(exclude=("x",)), Code.NOT_ALLOWED),
        (make.instance("x", make.L40S), PlacementRules(include=("y*",)), Code.NOT_ALLOWED),
        (make.instance("x", make.L40S, region="eu-west-1"), PlacementRules(), Code.NOT_ALLOWED),
        (make.instance("x", make.L40S, region="eu-west-1"), PlacementRules(regions=("eu-west-1",)), None),
        (make.instance("x", make.L40S, commitment=Commitment.SPOT), PlacementRules(), Code.NOT_ALLOWED),
        (
            make.instance("x", make.L40S, commitment=Commitment.SPOT),
            PlacementRules(capacity_types=(Commitment.SPOT,)),
            None,
        ),
        (make.instance("x", make.L40S, provisionable=Provisionable.NO), PlacementRules(), Code.NOT_PROVISIONABLE),
        (make.instance("x", make.INFERENTIA2), PlacementRules(), Code.OTHER_VENDOR),
        (make.instance("x", make.L40S, architecture="arm64"), PlacementRules(), Code.HOST_ARCHITECTURE),
        (make.instance("x", make.L40S), PlacementRules(), None),
    ],
)
def test_what_forbids_a_class(there: InstanceClass, rules: PlacementRules, code: Code | None) -> None:
    assert codes(found(make.world(rules=rules), "x", classes=[there]))[:1] == ([] if code is None else [code])


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", ""])
def test_a_present_class_of_unknown_region_allows_no_region_outside_the_rule(region: str) -> None:
    here = make.instance("here", make.H100, region="")
    world = make.world(on=here, rules=PlacementRules(regions=("eu-central-1",)))

    present, *others = all_of(world, [make.instance("x", make.L40S, region=region), here])

    assert [note.code for note in present.notes] == [Code.NOT_ALLOWED]
    assert all(Code.NOT_ALLOWED in codes(each) for each in others)


# host -----------------------------------------------------------------------------------------------------------------


def test_a_request_that_was_never_used_is_named_with_the_one_that_would_fit() -> None:
    """64 GiB asked, 6 used: a 32 GiB host takes 7.25."""
    candidate = found(make.world(pod=make.pod(memory_gib=64)), "g6e.xlarge")

    assert codes(candidate) == [Code.HOST_MEMORY_TOO_SMALL]
    (note,) = [n for n in candidate.notes if n.code is Code.HOST_REQUEST_UNUSED]
    assert note["resource"] == "memory"
    assert note["resource_requested"] == "65536Mi"
    assert note["resource_fits"] == "7424Mi"


def test_a_request_that_is_needed_has_no_smaller_one() -> None:
    used = make.observation(host_memory=make.flat(60 * GIB))
    candidate = found(make.world(used, pod=make.pod(memory_gib=64)), "g6e.xlarge")

    assert codes(candidate) == [Code.HOST_MEMORY_TOO_SMALL]
    assert not candidate.notes


def test_unmeasured_host_use_suggests_nothing() -> None:
    silent = make.observation(host_memory=make.missing(Signal.HOST_MEMORY))

    assert not found(make.world(silent, pod=make.pod(memory_gib=64)), "g6e.xlarge").notes


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        (make.pod(cpu=6), Code.HOST_CPU_TOO_SMALL),
        (make.pod(cpu=4), Code.HOST_CPU_TOO_SMALL),  # a 4-core node keeps some of it
        (make.pod(cpu=3), None),
        (make.pod(memory_gib=4, shared_memory=gib(28)), Code.HOST_MEMORY_TOO_SMALL),
        (make.pod(ephemeral_storage=gib(300)), Code.HOST_STORAGE_TOO_SMALL),
        (make.pod(other={"vpc.amazonaws.com/efa": 1}), Code.HOST_RESOURCE_MISSING),
        (make.pod(zones=("eu-west-1a",)), Code.VOLUME_ZONE),
        (make.pod(zones=("us-east-1a",)), None),
        (make.pod(host_constraints={"node.kubernetes.io/instance-type": ("p5.48xlarge",)}), None),
        (make.pod(host_constraints={"kubernetes.io/arch": ("arm64",)}), Code.NODE_CONSTRAINT),
    ],
)
def test_what_the_host_lacks(shape: PodShape, code: Code | None) -> None:
    there = make.instance("there", make.L40S, 1, cpu=4, memory_gib=32, storage_gib=250)

    assert codes(found(make.world(pod=shape), "there", classes=[there])) == ([] if code is None else [code])


def test_allocatable_of_nodes_that_exist_is_taken_as_it_is() -> None:
    there = make.instance("there", make.L40S, 1, cpu=4, memory_gib=32, allocatable=make.host(4, 31.5))

    assert codes(found(make.world(pod=make.pod(cpu=4, memory_gib=31)), "there", classes=[there])) == []


# context, risk, other memory ------------------------------------------------------------------------------------------


def test_a_context_that_does_not_fit_is_cut_where_nobody_asked_for_it() -> None:
    """131,072 tokens by the model's default, 19k fit on an A10G, and never 4k were in use."""
    world = make.world(make.observation(requests_per_second=0.1), engine_settings=make.settings(max_model_len=131072))
    candidate = found(world, "g5.xlarge")

    assert Code.CONTEXT_TOO_LONG not in codes(candidate)
    tokens = int(candidate.configuration.engine_args["--max-model-len"])
    assert 8192 < tokens <= (candidate.prediction.kv_capacity_tokens or 0)
    assert Code.CONTEXT_TOO_LONG in [n.code for n in candidate.notes]


def test_a_context_is_not_cut_below_four_mean_requests() -> None:
    """21k fit; prompts of 6k in the mean may be longer than what the gauge of the cache ever showed."""
    seen = make.observation(requests_per_second=0.01, prompt=6_000, output=5, kv_demand=make.flat(2_000.0))
    world = make.world(seen, engine_settings=make.settings(max_model_len=131072))

    assert Code.CONTEXT_TOO_LONG in codes(found(world, "g5.xlarge"))


def test_a_context_that_was_asked_for_is_kept() -> None:
    told = make.settings(max_model_len=131072, explicit=frozenset({"max_model_len"}))
    candidate = found(make.world(make.observation(requests_per_second=0.1), engine_settings=told), "g5.xlarge")

    assert Code.CONTEXT_TOO_LONG in codes(candidate)
    assert not candidate.configuration.engine_args


def test_a_past_out_of_memory_weighs_on_what_is_as_small_and_little_on_what_is_larger() -> None:
    light = make.observation(requests_per_second=0.1)
    world = make.world(light, incidents=(make.incident(OomKind.CUDA_SERVING, on="g5.xlarge"),))
    plain = make.world(light)

    def chance(world: World, name: str) -> float:
        value = found(world, name).prediction.oom_probability
        assert value is not None
        return value

    small = chance(world, "g5.2xlarge") - chance(plain, "g5.2xlarge")
    large = chance(world, "g6e.xlarge") - chance(plain, "g6e.xlarge")
    assert small > 3 * large > 0


def framebuffer(peak_gib: float, **changes: Any) -> World:
    used = make.diurnal(peak_gib * GIB, low=0.7, noise=0.02)
    return make.world(
        make.no_engine(fb_used=used, gpu_activity=make.diurnal(0.1), dram_activity=make.diurnal(0.05), **changes),
        engine=EngineType.TRITON, model=make.missing(Signal.MODEL),
    )  # fmt: skip


def test_framebuffer_peaks_size_an_engine_that_does_not_preallocate() -> None:
    world = framebuffer(16.0)

    assert isinstance(estimate([world], make.NOW)[0].memory, FramebufferMemory)
    assert codes(found(world, "g6e.xlarge")) == []
    assert Code.MEMORY_TOO_SMALL in codes(found(world, "g4dn.xlarge"))
    chances = [
        found(world, name).prediction.oom_probability or 0.0 for name in ("g5.xlarge", "g6e.xlarge", "p5.4xlarge")
    ]
    assert chances == sorted(chances, reverse=True)


def test_a_busy_device_does_not_move_to_a_slower_one() -> None:
    world = framebuffer(10.0)
    busy = replace(world, observation=replace(world.observation, gpu_activity=make.flat(0.9)))

    assert Code.OVERLOADED in codes(found(busy, "g6e.xlarge"))
    assert codes(found(busy, "p5.4xlarge")) == []


def test_unknown_need_has_no_probability() -> None:
    prediction = found(make.world(make.nothing_observed()), "g6e.xlarge").prediction

    assert prediction.oom_probability is None
    assert prediction.tpot is None
    assert prediction.kv_demand_tokens is None


def test_symptoms_rule_out_the_present_class_and_predictions_do_not() -> None:
    queue = make.observation(running=make.flat(20.0), waiting=make.flat(10.0))

    assert Code.OVERLOADED in codes(all_of(make.world(queue))[0])
    slow = make.world(make.observation(tpot=make.flat(0.04), kv_pool=Measured(make.pool_tokens())))
    assert all_of(slow)[0].holds  # 40 ms are within 50


def test_the_catalogue_fits_in_one_pass_over_a_fleet() -> None:
    """Company changes nothing."""
    worlds = [make.world(), make.world(make.no_engine()), make.world(replicas=2)]
    needs = estimate(worlds, make.NOW)

    together = predict(worlds, needs, make.LADDER)
    for world, need, candidates in zip(worlds, needs, together, strict=True):
        alone = predict([world], [need], make.LADDER)[0]
        assert [c.configuration for c in alone] == [c.configuration for c in candidates]
        assert [codes(c) for c in alone] == [codes(c) for c in candidates]

"""What is done once for workloads that are alike gives each what it would have alone."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from gpu_rightsizer.controller.collector import paused_collector
from gpu_rightsizer.domain.readings import Signal
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict
from gpu_rightsizer.predict.work import busy_tpots
from tests import builders as make

REQUESTS = [make.pod(cpu=cpu, memory_gib=memory) for cpu in (1, 3, 6, 40) for memory in (4, 20, 100)]


@pytest.mark.parametrize("replicas", [1, 3])
def test_pods_that_ask_for_other_amounts_have_places_of_their_own(replicas: int) -> None:
    worlds = [make.world(pod=pod, replicas=replicas) for pod in REQUESTS]
    needs = estimate(worlds, make.NOW)
    together = predict(worlds, needs, make.LADDER)

    for world, need, found in zip(worlds, needs, together, strict=True):
        (alone,) = predict([world], [need], make.LADDER)
        assert list(found) == list(alone)
        assert found.order.tolist() == alone.order.tolist()


def test_pods_that_ask_for_little_share_their_places() -> None:
    worlds = [make.world(pod=make.pod(cpu=1, memory_gib=memory)) for memory in (1, 2, 3)]
    found = predict(worlds, estimate(worlds, make.NOW), make.LADDER)

    assert len({id(each.places) for each in found}) == 1


def test_the_busy_quarter_is_that_of_numpy() -> None:
    rng = np.random.default_rng(5)
    rate, tpot = rng.lognormal(3, 1, 336), rng.lognormal(-4, 0.3, 336)
    rate[::7], tpot[5::11] = 0.0, np.nan
    seen = make.observation(generation_rate=make.series(rate), tpot=make.series(tpot))
    gone = replace(seen, tpot=make.missing(Signal.TPOT))
    known = (rate > 0) & np.isfinite(tpot)
    busy = known & (rate >= np.quantile(rate[known], 0.75))

    found = busy_tpots([make.world(seen), make.world(gone)])

    assert found[0] == pytest.approx([np.median(tpot[busy]), np.median(rate[busy])], rel=1e-12)
    assert np.isnan(found[1]).all()


def test_evaluations_leave_nothing_to_the_collector() -> None:
    worlds = [make.world() for _ in range(3)]
    predict(worlds, estimate(worlds, make.NOW), make.LADDER)
    gc.collect()
    with paused_collector():
        assert not gc.isenabled()
        predict(worlds, estimate(worlds, make.NOW), make.LADDER)
        assert gc.collect() == 0
    assert gc.isenabled()

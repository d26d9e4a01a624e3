"""The columns say of every candidate what the candidate itself says, and decide what its findings would decide."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.guards import HELD, UNDECIDED
from gpu_rightsizer.decide.verdict import OUTGROWN
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.options import Options, mask, rank
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict
from tests import builders as make
from tests import strategies

if TYPE_CHECKING:
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.world import World

CATALOGUES = st.just(list(make.LADDER)) | st.lists(strategies.classes(), max_size=12, unique_by=lambda each: each.name)


@settings(max_examples=60, deadline=None)
@given(st.lists(strategies.worlds(), min_size=1, max_size=3), CATALOGUES)
def test_columns_agree_with_the_candidates(worlds: list[World], classes: list[InstanceClass]) -> None:
    """What is screened as numbers is what the candidates made one by one tell: `Options.of` reads it off them."""
    for options in predict(worlds, estimate(worlds, make.NOW), classes):
        plain = Options.of(list(options))

        assert [list(options).index(each) for each in sorted(options, key=rank)] == options.order.tolist()
        assert options.order.tolist() == plain.order.tolist()
        assert options.codes.tolist() == plain.codes.tolist()
        assert options.faults.tolist() == plain.faults.tolist()
        assert options.changes.tolist() == plain.changes.tolist()
        assert options.places.level.tolist() == plain.places.level.tolist()
        assert np.array_equal(options.risk, plain.risk, equal_nan=True)
        assert {n: v.tolist() for n, v in options.unpredicted.items()} == {
            n: v.tolist() for n, v in plain.unpredicted.items()
        }


@settings(max_examples=60, deadline=None)
@given(st.lists(strategies.worlds(), min_size=1, max_size=3), CATALOGUES)
def test_a_decision_is_the_same_of_columns_and_of_candidates(worlds: list[World], classes: list[InstanceClass]) -> None:
    needs = estimate(worlds, make.NOW)
    for world, need, options in zip(worlds, needs, predict(worlds, needs, classes), strict=True):
        plain = replace(Options.of(list(options)), otherwise=options.otherwise)  # candidates alone cannot predict again
        assert decide(world.workload, need, options, make.NOW) == decide(world.workload, need, plain, make.NOW)


@pytest.mark.parametrize("one", sorted({*HELD, *UNDECIDED, *OUTGROWN, Code.RISK_OUTWEIGHS_SAVING, Code.NOT_ALLOWED}))
def test_a_code_that_rules_out_has_a_bit_of_its_own(one: Code) -> None:
    assert [each for each in Code if mask([each]) == mask([one])] == [one]
    assert math.log2(mask([one])).is_integer()

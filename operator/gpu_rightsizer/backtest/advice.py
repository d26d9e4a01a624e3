"""What elastic mode would set up after the trace: a replica size, how many, and the autoscaler's target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from gpu_rightsizer.decide import elastic
from gpu_rightsizer.explain.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.demand import Demand
    from gpu_rightsizer.backtest.ladder import Ladder
    from gpu_rightsizer.backtest.replay import Settings


@dataclass(frozen=True, slots=True)
class Advice:
    """For one deployment. `least` and `most` replicas are those ordered in a replay of the last history.

    `target` is the share of KV tokens in use that an HPA or KEDA should aim at; `hold` is minutes before scaling down.
    """

    deployment: str
    replica: str
    least: int
    most: int
    target: float
    hold: int

    def as_json(self) -> dict[str, object]:
        """As the how-to page promises."""
        return {
            "deployment": self.deployment,
            "replica": self.replica,
            "min_replicas": self.least,
            "max_replicas": self.most,
            "kv_usage_target": self.target,
            "scale_down_after_minutes": self.hold,
        }

    @override
    def __str__(self) -> str:
        name = safe(self.deployment, 63) or "the deployment"
        many = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return (
            f"{name}: {many} x {self.replica}, autoscaler target {100 * self.target:.0f} % of KV in use, "
            f"down after {self.hold} min"
        )


def advice(demand: Demand, ladder_for: Callable[[NDArray[np.float64]], Ladder], settings: Settings) -> Sequence[Advice]:
    """From the last `fit` minutes of the trace; deployments without a request in them are left out."""
    history = demand.peaks[:, -settings.fit :]
    busy = np.flatnonzero(history.max(axis=1) > 0)
    if busy.size == 0:
        return ()
    history, rules, ladder = history[busy], settings.rules, ladder_for(history[busy])
    plan = elastic.plan(history, ladder.tokens, ladder.price, rules)
    ordered = elastic.orders(history, plan, rules, history.shape[1])[:, history.shape[1] // 2 :]
    least, most = ordered.min(axis=1), ordered.max(axis=1)
    target = elastic.utilisation_target(history, rules)
    return tuple(
        Advice(demand.names[i], ladder.names[plan.size[n]], int(least[n]), int(most[n]), round(float(target[n]), 3),
               rules.hold)
        for n, i in enumerate(busy.tolist())
    )  # fmt: skip

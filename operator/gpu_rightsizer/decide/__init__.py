"""Candidates -> Decision: the cheapest configuration that holds, or why there is none. Pure."""

from gpu_rightsizer.decide.fleet import decide_fleet
from gpu_rightsizer.decide.offers import offers
from gpu_rightsizer.decide.verdict import decide

__all__ = ["decide", "decide_fleet", "offers"]

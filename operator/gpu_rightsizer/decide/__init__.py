"""Candidates -> Decision: the cheapest configuration that holds, or why there is none. Per workload, pure."""

from gpu_rightsizer.decide.verdict import decide

__all__ = ["decide"]

"""Observation -> Need: what a workload needs, with its uncertainty, and what the evidence forbids."""

from gpu_rightsizer.estimate.exceedance import exceedance, exceedances, level
from gpu_rightsizer.estimate.needs import estimate, recalibrate

__all__ = ["estimate", "exceedance", "exceedances", "level", "recalibrate"]

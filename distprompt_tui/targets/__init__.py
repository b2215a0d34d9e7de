"""Target distributions in float64 NumPy, one module for each family."""

from distprompt_tui.targets.factory import build_target, needs_model
from distprompt_tui.targets.save import save_target
from distprompt_tui.targets.target import DistributionSource, Target

__all__ = ["DistributionSource", "Target", "build_target", "needs_model", "save_target"]

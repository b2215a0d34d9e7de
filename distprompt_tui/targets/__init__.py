"""Target distributions: a file a family, float64 numpy."""

from distprompt_tui.targets.factory import make_target, needs_model
from distprompt_tui.targets.save import save_target
from distprompt_tui.targets.target import DistributionSource, Target

__all__ = ["DistributionSource", "Target", "make_target", "needs_model", "save_target"]

"""Explore which next-token distributions a language model can be prompted into.

The names in `__all__` are the Python interface. They are imported on first access, so that `import distprompt_tui`
loads neither torch nor Textual. Nothing is imported here, because the command line first removes the working directory
from `sys.path`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from distprompt_tui.bounds.values import Bounds
    from distprompt_tui.core.errors import DistPromptError
    from distprompt_tui.models.language_model import LanguageModel
    from distprompt_tui.runs.recorded_run import RecordedRun, RunCurve, open_run
    from distprompt_tui.search.protocol import Best, HardPrompt, Search, SoftPrompt, Step
    from distprompt_tui.targets.target import Target
    from distprompt_tui.worker.in_process import find_bounds, load_model, make_target, start_search

__version__ = "0.1.0"

__all__ = [
    "Best",
    "Bounds",
    "DistPromptError",
    "HardPrompt",
    "LanguageModel",
    "RecordedRun",
    "RunCurve",
    "Search",
    "SoftPrompt",
    "Step",
    "Target",
    "__version__",
    "find_bounds",
    "load_model",
    "make_target",
    "open_run",
    "start_search",
]

_MODULES = {
    "bounds.values": ("Bounds",),
    "core.errors": ("DistPromptError",),
    "runs.recorded_run": ("RecordedRun", "RunCurve", "open_run"),
    "worker.in_process": ("find_bounds", "load_model", "make_target", "start_search"),
    "models.language_model": ("LanguageModel",),
    "search.protocol": ("Best", "HardPrompt", "Search", "SoftPrompt", "Step"),
    "targets.target": ("Target",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

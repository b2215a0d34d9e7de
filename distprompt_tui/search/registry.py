"""The search of each method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distprompt_tui.config.methods import Method
from distprompt_tui.config.spec import RunSpec
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.exhaustive import ExhaustiveSearch
from distprompt_tui.search.gcg import GcgSearch
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.hotflip import HotflipSearch
from distprompt_tui.search.protocol import Search
from distprompt_tui.search.random_swaps import RandomSearch
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.search.token_search import TokenSearch

SEARCHES: dict[Method, type[SoftSearch] | type[TokenSearch[Any]]] = {
    "soft": SoftSearch,
    "hard": HardSearch,
    "gcg": GcgSearch,
    "hotflip": HotflipSearch,
    "random": RandomSearch,
    "exhaustive": ExhaustiveSearch,
}


def make_search(model: LanguageModel, target: Tensor, spec: RunSpec, warn: Callable[[str], None]) -> Search:
    """The search of a spec.

    Args:
        model: already in the spec's context.
        target: p, (V,), probabilities.
        spec: of the run.
        warn: receives messages for the user.

    Raises:
        DistPromptError: the settings do not fit the model, or the method needs what the model does not offer.
    """
    search = SEARCHES[spec.search.method]
    settings: Any = spec.search  # of the class that this search takes
    if search.with_gradient:
        model.check_takes_vectors(f"the method {settings.method!r}")
    return search(model, target, settings, spec.budget.steps, spec.seed, warn)

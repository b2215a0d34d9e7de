"""Registry of search methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distprompt_tui.core.config.methods import Method
from distprompt_tui.core.config.spec import RunSpec
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
    """Create the search of a spec for a model in the spec's context and a target p, (V,).

    `warn` receives messages for the user.

    Raises:
        DistPromptError: the settings do not fit the model, or the model does not support the method.
    """
    search = SEARCHES[spec.search.method]
    settings: Any = spec.search  # of the search's own class
    if search.with_gradient:
        model.check_takes_vectors(f"the method {settings.method!r}")
    return search(model, target, settings, spec.budget.steps, spec.seed, warn)

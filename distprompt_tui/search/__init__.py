"""Searches for prompts: soft (vectors) and hard (tokens)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from distprompt_tui.config.spec import Exhaustive, Gcg, Hard, Hotflip, RandomSwaps, RunSpec, Soft
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.exhaustive import ExhaustiveSearch
from distprompt_tui.search.gcg import GcgSearch
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.hotflip import HotflipSearch
from distprompt_tui.search.protocol import Search
from distprompt_tui.search.random_swaps import RandomSearch
from distprompt_tui.search.soft import SoftSearch


def make_search(model: LanguageModel, target: Tensor, spec: RunSpec, warn: Callable[[str], None]) -> Search:
    """The search that a spec asks for.

    Args:
        model: already in the spec's context.
        target: p, (V,), probabilities.
        spec: of the run.
        warn: told what the person should know.

    Raises:
        DistPromptError: the search cannot be made as asked, or its method needs what the model does not offer.
    """
    if isinstance(spec.search, (Soft, Gcg, Hotflip)):
        model.check_takes_vectors(f"the method {spec.search.method!r}")
    rest = (spec.budget.steps, spec.seed, warn)
    match spec.search:
        case Soft() as settings:
            return SoftSearch(model, target, settings, *rest)
        case Hard() as settings:
            return HardSearch(model, target, settings, *rest)
        case Gcg() as settings:
            return GcgSearch(model, target, settings, *rest)
        case Hotflip() as settings:
            return HotflipSearch(model, target, settings, *rest)
        case RandomSwaps() as settings:
            return RandomSearch(model, target, settings, *rest)
        case Exhaustive() as settings:
            return ExhaustiveSearch(model, target, settings, *rest)

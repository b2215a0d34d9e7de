"""Build targets from specs: dispatch to the family, cache the result and check its entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distprompt_tui.core.config import target_specs as specs
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.cache import cache_key, keep_target, recall_target
from distprompt_tui.targets.entropy import check_entropy
from distprompt_tui.targets.explicit import explicit
from distprompt_tui.targets.lm import lm, reachable, shuffled
from distprompt_tui.targets.mixture import mixture
from distprompt_tui.targets.outlier import outlier
from distprompt_tui.targets.simple import one_hot, temperature, uniform, zipf
from distprompt_tui.targets.target import DistributionSource, Target, require_model, token_count
from distprompt_tui.targets.vanilla import vanilla

FROM_VOCABULARY: dict[type, Callable[[Any, Vocabulary], Target]] = {
    specs.Vanilla: vanilla,
    specs.Temperature: temperature,
    specs.Outlier: outlier,
    specs.Uniform: uniform,
    specs.OneHot: one_hot,
    specs.Zipf: zipf,
}
FROM_MODEL: dict[type, Callable[[Any, Vocabulary, DistributionSource], Target]] = {
    specs.Lm: lm,
    specs.Shuffled: shuffled,
    specs.Reachable: reachable,
}
"""The families with a function of their own; `explicit` and `mixture` may or may not use a model."""


def needs_model(spec: specs.TargetSpec) -> bool:
    if isinstance(spec, specs.Mixture):
        return any(needs_model(part.target) for part in spec.parts)
    return type(spec) in FROM_MODEL or (isinstance(spec, specs.Explicit) and spec.rest == "model")


def build_target(spec: specs.TargetSpec, vocabulary: Vocabulary, model: DistributionSource | None = None) -> Target:
    """Build the target of a spec, or read it from the cache.

    `vocabulary` and `model` are those of the prompted model. Some families require `model`, see `needs_model`.

    Raises:
        TargetError: invalid target; the message gives the reason.
        NotFoundError: a file of the spec does not exist.
    """
    if token_count(vocabulary) == 0:
        raise TargetError("this model's vocabulary has no tokens")
    key = cache_key(spec, vocabulary)
    if key is not None and (kept := recall_target(key, spec.family, vocabulary.size)) is not None:
        return kept
    target = _make(spec, vocabulary, model)
    requested = getattr(spec, "entropy", None)
    if requested is not None:
        check_entropy(target.probabilities, requested)
    if key is not None:
        keep_target(key, target)
    return target


def _make(spec: specs.TargetSpec, vocabulary: Vocabulary, model: DistributionSource | None) -> Target:
    if isinstance(spec, specs.Mixture):
        return mixture(spec, [build_target(part.target, vocabulary, model) for part in spec.parts])
    if isinstance(spec, specs.Explicit):
        return explicit(spec, vocabulary, model)
    if type(spec) in FROM_MODEL:
        return FROM_MODEL[type(spec)](spec, vocabulary, require_model(model, f"the target family {spec.family!r}"))
    return FROM_VOCABULARY[type(spec)](spec, vocabulary)

"""`outlier`: outlier tokens with (nearly) the largest mass that the entropy allows.

The paper minimises a * (H - h)^2 - b * (mass of the outliers) and accepts results with mass >= m - delta. This descent
often leaves the outliers without mass and misses the entropy. We construct targets with the same criterion directly:
the k outliers share a mass M in [m - delta, m] equally, and the other tokens share 1 - M by the vanilla recipe, at the
entropy that gives a total of h. M is the centre of those M in the interval for which the other tokens' entropy is
between 0 and ln(n - k): m - delta/2, except close to h = ln k and h = ln n. Below ln k, equal outliers have too much
entropy: there they have all the mass (m = 1), in geometric proportions by the order in the spec.
"""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.random import PCG64, Generator

from distprompt_tui.core.config.target_specs import Outlier
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import (
    ENTROPY_TOLERANCE,
    FloatArray,
    check_entropy_range,
    scale_to_entropy,
    solve_decreasing,
)
from distprompt_tui.targets.target import Metadata, Target, token_count, unique_ids
from distprompt_tui.targets.vanilla import draw


def outlier(spec: Outlier, vocabulary: Vocabulary) -> Target:
    """Make an `outlier` target.

    Raises:
        TargetError: the entropy is impossible, a token is unknown or repeated, or there are too few tokens.
    """
    generator = Generator(PCG64(spec.seed))
    size = token_count(vocabulary)
    check_entropy_range(spec.entropy, 0.0, log(size))
    requested = min(spec.entropy, log(size))
    ids = _outlier_ids(spec, vocabulary, generator)
    others = vocabulary.allowed.copy()
    others[ids] = False

    bound = largest_mass(requested, len(ids), size)
    mass = outlier_mass(requested, len(ids), size, spec.delta)
    check_mass(mass, bound, spec.delta)
    probabilities = np.zeros(vocabulary.size)
    if mass < 1:
        probabilities[ids] = mass / len(ids)
        probabilities[others] = (1 - mass) * _rest(requested, mass, len(ids), size, generator)
    else:
        probabilities[ids], _ = scale_to_entropy(-np.arange(len(ids), dtype=np.float64), requested)

    shares = f"equal parts, the other tokens share the remainder by the vanilla recipe (seed {spec.seed})"
    who = "1 outlier token has mass" if len(ids) == 1 else f"{len(ids)} outlier tokens have mass"
    recipe = (
        f"{who} {mass:.4f} in {shares if mass < 1 else 'geometric proportions'}. The mass must be >= "
        f"{bound - spec.delta:.4f} (the largest that {spec.entropy:g} nats allow, {bound:.4f}, less {spec.delta:g}), "
        f"and the entropy exact to {ENTROPY_TOLERANCE:g} nats."
    )
    notes: Metadata = {
        "outlier_mass": mass,
        "outlier_mass_bound": bound,
        "outliers": ", ".join(repr(vocabulary.text(token_id)) for token_id in ids),
    }
    return Target(probabilities, spec.family, recipe, notes)


def largest_mass(requested: float, count: int, size: int) -> float:
    """Compute m, the largest mass of `count` of `size` tokens at an entropy of `requested` nats.

    This is the root above k/n of -m ln(m/k) - (1-m) ln((1-m)/(n-k)) = h; 1 if h <= ln k.
    """
    if requested <= log(count) or count == size:
        return 1.0
    return solve_decreasing(lambda mass: _two_level_entropy(mass, count, size), requested, count / size, 1.0)


def outlier_mass(requested: float, count: int, size: int, delta: float) -> float:
    """Compute M, the total mass of the outliers: between m - delta and m, with a possible entropy of the others."""
    bound = largest_mass(requested, count, size)
    # The entropy of a single other token is 0: its bound is the mass at which the others' entropy falls to 0.
    enough = largest_mass(requested, count, count + 1) if requested < log(count + 1) else 0.0
    return (max(bound - delta, enough, count / size) + bound) / 2


def check_mass(mass: float, bound: float, delta: float) -> None:
    """Raise TargetError if mass < m - delta."""
    if not mass >= bound - delta:
        raise TargetError(f"the outliers' mass {mass:.4f} is less than {bound:.4f} - {delta:g}: increase delta")


def _rest(requested: float, mass: float, count: int, size: int, generator: Generator) -> FloatArray:
    """Draw a vanilla distribution of the other tokens, (n - k,), that gives a total entropy of h nats."""
    entropy = (requested - _two_level_entropy(mass, count, count + 1)) / (1 - mass)
    return draw(generator, size - count, min(max(entropy, 0.0), log(size - count)))[0]


def _two_level_entropy(mass: float, count: int, size: int) -> float:
    """Entropy, nats, if `count` tokens share `mass` equally and the other `size - count` share the rest equally."""
    held = mass * log(mass / count)
    left = (1 - mass) * (log1p(-mass) - log(size - count)) if mass < 1 else 0.0
    return -held - left


def _outlier_ids(spec: Outlier, vocabulary: Vocabulary, generator: Generator) -> list[int]:
    if spec.count is None:
        return unique_ids(list(spec.tokens), vocabulary)
    drawable = np.setdiff1d(np.flatnonzero(vocabulary.allowed), list(vocabulary.special_ids))
    if spec.count > drawable.size:
        raise TargetError(f"{spec.count:,} outliers cannot be drawn from {drawable.size:,} tokens: reduce 'count'")
    return [int(token_id) for token_id in generator.choice(drawable, spec.count, replace=False)]

"""`vanilla`: the paper's random targets (arXiv 2505.12244); `outlier` uses the same recipe.

Logits are drawn from N(0, 1) and moved by gradient descent on (H(softmax z) - h)^2. Optimiser, rate and tolerance are
those of the public reproduction: Adam, 0.1, |H - h| <= 1e-4. They determine the shape: Adam acts like sign descent, so
the logits split into two modes, one rising and one falling. Temperature alone cannot give this shape.

Our additions reach every entropy from 0 to ln V, and fast:
- the rate is halved each time H crosses h, which stops the oscillation;
- the descent ends after `MAX_STEPS`. This happens where the gradient vanishes: below 0.3 nats, with H at most 0.08 nats
  from h, and within 0.01 nats of ln V, with H at most 0.005 nats from h (measured for V = 2 to 262,144);
- temperature corrects the remaining error, elsewhere at most 1e-4 nats. In its limits, the largest logit has
  probability 1 (h = 0), or the distribution is uniform (h = ln V).
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.random import PCG64, Generator

from distprompt_tui.core.config.target_specs import Vanilla
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import (
    ENTROPY_TOLERANCE,
    FloatArray,
    check_entropy_range,
    entropy,
    log_softmax,
    scale_to_entropy,
)
from distprompt_tui.targets.target import Target, scatter_to_vocab, token_count

RATE = 0.1  # the public reproduction's
DESCENT_TOLERANCE = 1e-4  # nats; the public reproduction's
MAX_STEPS = 400  # one or two seconds for 262,144 tokens
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's usual values


def vanilla(spec: Vanilla, vocabulary: Vocabulary) -> Target:
    """Make a `vanilla` target.

    Raises:
        TargetError: the entropy is above ln(number of tokens).
    """
    generator = Generator(PCG64(spec.seed))
    probabilities, left = draw(generator, token_count(vocabulary), spec.entropy)
    recipe = (
        f"Normal logits (seed {spec.seed}), then Adam (rate {RATE:g}, halved at each crossing, at most {MAX_STEPS} "
        f"steps) on (H - {spec.entropy:g})^2 until |H - {spec.entropy:g}| <= {DESCENT_TOLERANCE:g} nats, the remainder "
        f"({left:.2g} nats) by temperature; invalid if the entropy is more than {ENTROPY_TOLERANCE:g} nats off."
    )
    return Target(scatter_to_vocab(probabilities, vocabulary), spec.family, recipe, {"entropy_by_temperature": left})


def draw(generator: Generator, size: int, requested: float) -> tuple[FloatArray, float]:
    """Draw a random distribution over `size` tokens with an entropy of `requested` nats by the vanilla recipe.

    Returns:
        The distribution, (size,), and the error of the descent that temperature corrected, in nats.

    Raises:
        TargetError: the entropy is above ln(size).
    """
    check_entropy_range(requested, 0.0, log(size))
    logits = descend(generator.standard_normal(size), requested)
    left = abs(entropy(np.exp(log_softmax(logits))) - requested)
    probabilities, _ = scale_to_entropy(logits, requested)
    return probabilities, left


def descend(logits: FloatArray, requested: float) -> FloatArray:
    """Minimise (H(softmax z) - h)^2 by Adam from logits z, (n,), to `DESCENT_TOLERANCE` or for `MAX_STEPS` steps."""
    logits = logits.copy()
    mean, square = np.zeros_like(logits), np.zeros_like(logits)
    p, log_p, scratch = (np.empty_like(logits) for _ in range(3))  # reused: new pages cost more than the arithmetic
    rate, last_error = RATE, 0.0
    for step in range(1, MAX_STEPS + 1):
        np.subtract(logits, logits.max(), out=log_p)
        np.exp(log_p, out=p)
        total = float(p.sum())
        log_p -= log(total)
        p /= total
        achieved = -float(np.multiply(p, log_p, out=scratch).sum())
        error = achieved - requested
        if abs(error) <= DESCENT_TOLERANCE:
            break
        if error * last_error < 0:
            rate /= 2
        last_error = error
        log_p += achieved
        gradient = np.multiply(p, log_p, out=scratch)  # dH/dz_i = -p_i (log p_i + H)
        gradient *= -2 * error
        _adam_step(logits, gradient, mean, square, rate, step)
    return logits


def _adam_step(
    logits: FloatArray, gradient: FloatArray, mean: FloatArray, square: FloatArray, rate: float, step: int
) -> None:
    """Update the logits and Adam's two moments, all (n,), in place; overwrites the gradient."""
    mean *= _BETA1
    mean += (1 - _BETA1) * gradient
    gradient *= gradient
    gradient *= 1 - _BETA2
    square *= _BETA2
    square += gradient
    scale = np.divide(square, 1 - _BETA2**step, out=gradient)
    np.sqrt(scale, out=scale)
    scale += _EPSILON
    update = np.divide(mean, scale, out=scale)
    update *= rate / (1 - _BETA1**step)
    logits -= update

"""Families with a simple formula: `temperature`, `uniform`, `one_hot` and `zipf`."""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator

from distprompt_tui.core.config.target_specs import OneHot, Temperature, Uniform, Zipf
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import ENTROPY_TOLERANCE, log_softmax, scale_to_entropy
from distprompt_tui.targets.target import Target, scatter_to_vocab, token_count


def temperature(spec: Temperature, vocabulary: Vocabulary) -> Target:
    """Make a `temperature` target: scaled normal logits.

    Raises:
        TargetError: the entropy is above ln(number of tokens).
    """
    logits = Generator(PCG64(spec.seed)).standard_normal(token_count(vocabulary))
    probabilities, inverse = scale_to_entropy(logits, spec.entropy)
    recipe = (
        f"Normal logits (seed {spec.seed}) times {inverse:.4g}, which gives {spec.entropy:g} nats; invalid if the "
        f"entropy is more than {ENTROPY_TOLERANCE:g} nats off."
    )
    return Target(scatter_to_vocab(probabilities, vocabulary), spec.family, recipe, {"inverse_temperature": inverse})


def uniform(spec: Uniform, vocabulary: Vocabulary) -> Target:
    size = token_count(vocabulary)
    probabilities = np.full(size, 1 / size)
    return Target(
        scatter_to_vocab(probabilities, vocabulary),
        spec.family,
        f"Exactly equal probabilities of {size:,} tokens.",
    )


def one_hot(spec: OneHot, vocabulary: Vocabulary) -> Target:
    """Make a `one_hot` target: probability 1 for one token.

    Raises:
        TargetError: the token is unknown.
    """
    token_id = vocabulary.id_of(spec.token)
    probabilities = np.zeros(vocabulary.size)
    probabilities[token_id] = 1.0
    return Target(
        probabilities, spec.family, f"Probability 1 for {vocabulary.text(token_id)!r} (id {token_id}), exactly."
    )


def zipf(spec: Zipf, vocabulary: Vocabulary) -> Target:
    """Make a `zipf` target: rank^-exponent with random ranks. A requested entropy determines the exponent.

    Raises:
        TargetError: the entropy is above ln(number of tokens).
    """
    size = token_count(vocabulary)
    logits = -np.log(Generator(PCG64(spec.seed)).permutation(size) + 1.0)  # for exponent 1
    if spec.exponent is not None:
        exponent, fitted = spec.exponent, "as given"
        probabilities = np.exp(log_softmax(exponent * logits))
    else:
        assert spec.entropy is not None  # the spec has one of the two
        probabilities, exponent = scale_to_entropy(logits, spec.entropy)
        fitted = f"fitted to {spec.entropy:g} nats; invalid if the entropy is more than {ENTROPY_TOLERANCE:g} nats off"
    recipe = f"Probability ∝ rank^-{exponent:.4g} with random ranks (seed {spec.seed}), the exponent {fitted}."
    return Target(scatter_to_vocab(probabilities, vocabulary), spec.family, recipe, {"exponent": exponent})

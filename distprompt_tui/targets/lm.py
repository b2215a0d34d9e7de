"""Families derived from a language model: `lm`, `shuffled` (a control for `lm`) and `reachable`."""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator

from distprompt_tui.core.config.target_specs import Lm, Reachable, Shuffled
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import ENTROPY_TOLERANCE, FloatArray, entropy, rescale
from distprompt_tui.targets.target import DistributionSource, Metadata, Target
from distprompt_tui.targets.transfer import transfer


def lm(spec: Lm, vocabulary: Vocabulary, model: DistributionSource) -> Target:
    """Make an `lm` target: a model's next-token distribution after a text.

    Raises:
        TargetError: no temperature gives the entropy, or the transfer from another model lost the whole distribution.
    """
    probabilities, recipe, notes = _after_text(spec, vocabulary, model)
    return Target(probabilities, spec.family, f"{recipe}.", notes)


def shuffled(spec: Shuffled, vocabulary: Vocabulary, model: DistributionSource) -> Target:
    """Make a `shuffled` target: an `lm` target with probabilities permuted over the tokens.

    Raises:
        TargetError: see `lm`.
    """
    probabilities, recipe, notes = _after_text(spec, vocabulary, model)
    dealt = np.zeros(vocabulary.size)
    dealt[vocabulary.allowed] = Generator(PCG64(spec.seed)).permutation(probabilities[vocabulary.allowed])
    return Target(dealt, spec.family, f"{recipe}; then permuted over the tokens at random (seed {spec.seed}).", notes)


def reachable(spec: Reachable, vocabulary: Vocabulary, model: DistributionSource) -> Target:
    """Make a `reachable` target: the distribution after a random soft prompt."""
    raw = model.random_prompt_probabilities(spec.length, spec.seed)
    probabilities, dropped = mask_to_tokens(raw, vocabulary)
    recipe = f"The model's exact distribution after a random soft prompt of length {spec.length} (seed {spec.seed})."
    return Target(probabilities, spec.family, recipe, {"mass_without_token": dropped})


def mask_to_tokens(raw: FloatArray, vocabulary: Vocabulary) -> tuple[FloatArray, float]:
    """Set the rows of a model's distribution, (V,), without a token to 0 and renormalise.

    Returns:
        The distribution, (V,) float64, and the removed probability mass.

    Raises:
        TargetError: `raw` is not a distribution over this vocabulary.
    """
    if raw.shape != (vocabulary.size,):
        raise TargetError(f"the model gave {raw.size:,} probabilities, but its vocabulary has {vocabulary.size:,} rows")
    kept = np.where(vocabulary.allowed, raw, 0.0).astype(np.float64)
    total = float(kept.sum())
    if not (np.isfinite(total) and total > 0 and kept.min() >= 0):
        raise TargetError("the model's output is not a distribution (negative or NaN): try dtype float32")
    return kept / total, 1 - total / float(raw.sum(dtype=np.float64))


def _after_text(
    spec: Lm | Shuffled, vocabulary: Vocabulary, model: DistributionSource
) -> tuple[FloatArray, str, Metadata]:
    """Return the distribution after the text, (V,), transferred and rescaled as requested; its recipe and notes."""
    if spec.model is None:
        probabilities, dropped = mask_to_tokens(model.next_token_probabilities(spec.text), vocabulary)
        recipe = f"The model's next-token distribution after {spec.text!r}"
        notes: Metadata = {"mass_without_token": dropped}
    else:
        source, source_vocabulary = model.other(spec.model)
        given, dropped = mask_to_tokens(source.next_token_probabilities(spec.text), source_vocabulary)
        transferred = transfer(given, source_vocabulary, vocabulary)
        probabilities = transferred.probabilities
        recipe = f"The next-token distribution of {spec.model} after {spec.text!r}, transferred by the bytes of tokens"
        notes = {
            "mass_without_token": dropped,
            "matched_mass": transferred.matched,
            "prefix_mass": transferred.prefix,
            "lost_mass": transferred.lost,
            "entropy_before_transfer": entropy(given),
        }
    if spec.entropy is not None:
        notes["entropy_before_temperature"] = entropy(probabilities)
        probabilities, notes["inverse_temperature"] = rescale(probabilities, spec.entropy)
        recipe += (
            f", scaled to {spec.entropy:g} nats by temperature (invalid if more than {ENTROPY_TOLERANCE:g} nats off)"
        )
    return probabilities, recipe, notes

"""`explicit`: tokens and masses written by hand, or read from a file.

Files: JSON, an object of token: mass; CSV, lines of token,mass (a first line `token,mass` is skipped); .npy, all V
probabilities. A token is written as in the spec: `" yes"`, which must be one token, or `"id:5231"`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import fsum
from pathlib import Path

import numpy as np

from distprompt_tui.config.spec import SUM_TOLERANCE, Explicit
from distprompt_tui.errors import NotFoundError, TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.storage.npy import open_row
from distprompt_tui.storage.safe_io import is_file, parse_json, read_text, user_path
from distprompt_tui.targets.entropy import FloatArray
from distprompt_tui.targets.lm import mask_to_tokens
from distprompt_tui.targets.target import DistributionSource, Target, require_model, unique_ids

FILE_SUM_TOLERANCE = 1e-6  # a (V,) file may come from float32

MAX_FILE_BYTES = 1 << 26
"""Of a JSON or CSV file; one with every token of the largest vocabularies takes a fifth of it."""


def explicit(spec: Explicit, vocabulary: Vocabulary, model: DistributionSource | None) -> Target:
    """Make an `explicit` target.

    Raises:
        TargetError: masses that are negative, not numbers or above 1 in sum; tokens that are unknown or named twice;
            a file that cannot be understood or is for another vocabulary.
        NotFoundError: there is no such file.
    """
    if spec.file is None:
        return _from_masses(list(spec.probabilities.items()), "probabilities", spec, vocabulary, model)
    path = _existing(spec.file)
    try:
        return _from_file(path, spec, vocabulary, model)
    except OSError as error:
        raise TargetError(f"{path.name} cannot be read: {error.strerror}") from error


def _existing(file: str) -> Path:
    path = user_path(file)
    if is_file(path):
        return path
    raise NotFoundError(f"there is no file {file} to read the target from")


def _from_file(path: Path, spec: Explicit, vocabulary: Vocabulary, model: DistributionSource | None) -> Target:
    match path.suffix.lower():
        case ".npy":
            return _from_array(path, spec, vocabulary)
        case ".json":
            return _from_masses(_json_masses(path), path.name, spec, vocabulary, model)
        case ".csv":
            return _from_masses(_csv_masses(path), path.name, spec, vocabulary, model)
        case _:
            raise TargetError(f"{path.name} cannot be read as a target: give a .json, .csv or .npy file")


def _from_masses(
    masses: Sequence[tuple[str, float]],
    where: str,
    spec: Explicit,
    vocabulary: Vocabulary,
    model: DistributionSource | None,
) -> Target:
    """The named tokens hold their masses; the others share what is left of 1."""
    for token, mass in masses:
        if not 0 <= mass <= 1 + SUM_TOLERANCE:
            raise TargetError(f"{where}: the mass of {token!r} is {mass}, it must be a number from 0 to 1")
    ids = unique_ids([token for token, _ in masses], vocabulary)
    total = fsum(mass for _, mass in masses)
    if total > 1 + SUM_TOLERANCE:
        raise TargetError(f"{where}: the masses sum to {total:.10g}, more than 1")
    probabilities = np.zeros(vocabulary.size)
    probabilities[ids] = [mass for _, mass in masses]
    left = 1 - total
    if left <= SUM_TOLERANCE:
        spread = "nothing left to spread"
        probabilities /= total
    else:
        how = "all alike" if spec.rest == "uniform" else f"in proportion to the model's own after {spec.text!r}"
        spread = f"the remaining {left:.4g} spread over the other tokens, {how}"
        probabilities += left * _rest(ids, spec, vocabulary, model)
    who = "The mass of 1 token" if len(ids) == 1 else f"The masses of {len(ids)} tokens"
    recipe = f"{who} as written, exactly; {spread}."
    return Target(probabilities, spec.family, recipe, {"named_mass": min(total, 1.0), "named_tokens": len(ids)})


def _rest(ids: list[int], spec: Explicit, vocabulary: Vocabulary, model: DistributionSource | None) -> FloatArray:
    """The distribution of the tokens that are not named, (V,)."""
    if spec.rest == "model":
        source = require_model(model, "the rest of an explicit")
        shares, _ = mask_to_tokens(source.next_token_probabilities(spec.text), vocabulary)
    else:
        shares = vocabulary.allowed.astype(np.float64)
    shares[ids] = 0.0
    whole = shares.sum()
    if whole <= 0:
        raise TargetError("the masses sum to less than 1 and no other token can hold the rest: let them sum to 1")
    shares /= whole
    return shares


def _json_masses(path: Path) -> list[tuple[str, float]]:
    """The pairs of a JSON object, repeated keys included."""
    try:
        pairs = parse_json(read_text(path, MAX_FILE_BYTES), pairs=True)
    except ValueError as error:
        raise TargetError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, tuple) for pair in pairs):
        raise TargetError(f'{path.name} must be one JSON object of tokens and masses: {{" yes": 0.7, " no": 0.3}}')
    for token, mass in pairs:
        if isinstance(mass, bool) or not isinstance(mass, int | float):
            raise TargetError(f"{path.name}: the mass of {token!r} must be a number")
    return pairs


def _csv_masses(path: Path) -> list[tuple[str, float]]:
    """The pairs of a CSV file, without its header."""
    masses = []
    try:
        text = read_text(path, MAX_FILE_BYTES)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (ValueError, csv.Error) as error:
        raise TargetError(f"{path.name} is not a CSV file in UTF-8: {error}") from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["token", "mass"]:
        del rows[0]
    for row in rows:
        try:
            token, mass = row
            masses.append((token, float(mass)))
        except ValueError as error:
            raise TargetError(f"{path.name}: {','.join(row)!r} is not a line of token,mass") from error
    if not masses:
        raise TargetError(f"{path.name} has no line of token,mass")
    return masses


def _from_array(path: Path, spec: Explicit, vocabulary: Vocabulary) -> Target:
    try:
        stored = open_row(path)
    except ValueError as error:
        raise TargetError(str(error)) from error
    if stored.size != vocabulary.size:
        raise TargetError(
            f"{path.name} is for a vocabulary of {stored.size:,} tokens, but this model has {vocabulary.size:,}"
        )
    probabilities = np.array(stored, dtype=np.float64)
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0):
        raise TargetError(f"{path.name} has masses that are negative or not numbers")
    total = float(probabilities.sum())
    if abs(total - 1) > FILE_SUM_TOLERANCE:
        raise TargetError(f"{path.name} sums to {total:.8g}, it must be 1 within {FILE_SUM_TOLERANCE:g}")
    dropped = float(probabilities[~vocabulary.allowed].sum())
    if dropped > FILE_SUM_TOLERANCE:
        raise TargetError(f"{path.name} gives {dropped:.3g} to rows that stand for no token of this model")
    probabilities[~vocabulary.allowed] = 0.0
    recipe = (
        f"All {stored.size:,} probabilities from {path.name}, renormalised; invalid if their sum is more than "
        f"{FILE_SUM_TOLERANCE:g} from 1."
    )
    return Target(probabilities / probabilities.sum(), spec.family, recipe, {"file_sum": total})

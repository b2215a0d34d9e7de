"""`explicit`: probabilities of tokens from the spec or a file.

Files: JSON, an object token: probability; CSV, lines token,probability (a header is skipped); .npy,
all V probabilities. Tokens have the form of the spec: `" yes"`, which must be one token, or `"id:5231"`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import fsum
from pathlib import Path

import numpy as np

from distprompt_tui.core.config.target_specs import SUM_TOLERANCE, Explicit
from distprompt_tui.core.errors import NotFoundError, TargetError
from distprompt_tui.core.storage.npy import open_row
from distprompt_tui.core.storage.safe_io import is_file, parse_json, read_text, user_path
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray
from distprompt_tui.targets.lm import mask_to_tokens
from distprompt_tui.targets.target import DistributionSource, Target, require_model, unique_ids

FILE_SUM_TOLERANCE = 1e-6  # a (V,) file may contain converted float32 values

CSV_HEADERS = (["token", "probability"], ["token", "mass"])  # the second one in files of version 0.1
MAX_FILE_BYTES = 1 << 26  # limit of JSON and CSV files: five times the size for all tokens of the largest vocabularies


def explicit(spec: Explicit, vocabulary: Vocabulary, model: DistributionSource | None) -> Target:
    """Make an `explicit` target.

    Raises:
        TargetError: a probability is invalid, or the sum exceeds 1; a token is unknown or repeated; the file is invalid
            or for another vocabulary.
        NotFoundError: the file does not exist.
    """
    if spec.file is None:
        return _from_pairs(list(spec.probabilities.items()), "probabilities", spec, vocabulary, model)
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
            return _from_pairs(_read_json(path), path.name, spec, vocabulary, model)
        case ".csv":
            return _from_pairs(_read_csv(path), path.name, spec, vocabulary, model)
        case _:
            raise TargetError(f"{path.name} cannot be read as a target: give a .json, .csv or .npy file")


def _from_pairs(
    pairs: Sequence[tuple[str, float]],
    where: str,
    spec: Explicit,
    vocabulary: Vocabulary,
    model: DistributionSource | None,
) -> Target:
    for token, value in pairs:
        if not 0 <= value <= 1 + SUM_TOLERANCE:
            raise TargetError(f"{where}: the probability of {token!r} is {value}, it must be a number from 0 to 1")
    ids = unique_ids([token for token, _ in pairs], vocabulary)
    total = fsum(value for _, value in pairs)
    if total > 1 + SUM_TOLERANCE:
        raise TargetError(f"{where}: the probabilities sum to {total:.10g}, more than 1")
    probabilities = np.zeros(vocabulary.size)
    probabilities[ids] = [value for _, value in pairs]
    left = 1 - total
    if left <= SUM_TOLERANCE:
        spread = "no remainder"
        probabilities /= total
    else:
        how = "uniformly" if spec.rest == "uniform" else f"as the model's distribution after {spec.text!r}"
        spread = f"the remaining {left:.4g} distributed over the other tokens, {how}"
        probabilities += left * _rest(ids, spec, vocabulary, model)
    who = "The probability of 1 token" if len(ids) == 1 else f"The probabilities of {len(ids)} tokens"
    recipe = f"{who} exactly as given; {spread}."
    return Target(probabilities, spec.family, recipe, {"named_mass": min(total, 1.0), "named_tokens": len(ids)})


def _rest(ids: list[int], spec: Explicit, vocabulary: Vocabulary, model: DistributionSource | None) -> FloatArray:
    if spec.rest == "model":
        source = require_model(model, "the remainder of an explicit target")
        shares, _ = mask_to_tokens(source.next_token_probabilities(spec.text), vocabulary)
    else:
        shares = vocabulary.allowed.astype(np.float64)
    shares[ids] = 0.0
    whole = shares.sum()
    if whole <= 0:
        raise TargetError("the probabilities must sum to 1, since no other token can take the remainder")
    shares /= whole
    return shares


def _read_json(path: Path) -> list[tuple[str, float]]:
    try:
        pairs = parse_json(read_text(path, MAX_FILE_BYTES), pairs=True)
    except ValueError as error:
        raise TargetError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, tuple) for pair in pairs):
        raise TargetError(f'{path.name} must be one JSON object, such as {{" yes": 0.7, " no": 0.3}}')
    for token, value in pairs:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TargetError(f"{path.name}: the probability of {token!r} must be a number")
    return pairs


def _read_csv(path: Path) -> list[tuple[str, float]]:
    pairs = []
    try:
        text = read_text(path, MAX_FILE_BYTES)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (ValueError, csv.Error) as error:
        raise TargetError(f"{path.name} is not a CSV file in UTF-8: {error}") from error
    if rows and [cell.strip().lower() for cell in rows[0]] in CSV_HEADERS:
        del rows[0]
    for row in rows:
        try:
            token, value = row
            pairs.append((token, float(value.replace("_", "x"))))  # Python reads "0_5" as 5
        except ValueError as error:
            raise TargetError(f"{path.name}: {','.join(row)!r} does not have the form token,probability") from error
    if not pairs:
        raise TargetError(f"{path.name} has no line of the form token,probability")
    return pairs


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
        raise TargetError(f"{path.name} has negative or non-finite probabilities")
    total = float(probabilities.sum())
    if abs(total - 1) > FILE_SUM_TOLERANCE:
        raise TargetError(f"{path.name} sums to {total:.8g}; the sum must be 1 within {FILE_SUM_TOLERANCE:g}")
    dropped = float(probabilities[~vocabulary.allowed].sum())
    if dropped > FILE_SUM_TOLERANCE:
        raise TargetError(f"{path.name} has probability mass {dropped:.3g} on rows without a token of this model")
    probabilities[~vocabulary.allowed] = 0.0
    recipe = (
        f"All {stored.size:,} probabilities from {path.name}, renormalised; invalid if their sum differs from 1 by "
        f"more than {FILE_SUM_TOLERANCE:g}."
    )
    return Target(probabilities / probabilities.sum(), spec.family, recipe, {"file_sum": total})

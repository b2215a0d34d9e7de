"""Write targets to files that `--target` can read."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import is_file, is_folder, user_path, write_out
from distprompt_tui.targets.target import Target

FORMS = (".npy", ".json", ".csv")


def save_target(target: Target, path: Path) -> None:
    """Write a target: all probabilities to `.npy`, the nonzero ones by token id to `.json` and `.csv`.

    A pipe or device without one of these extensions receives JSON.

    Raises:
        UsageError: another extension, or the file cannot be written.
    """
    path = user_path(path)
    is_stream = os.path.exists(path) and not (is_file(path) or is_folder(path))  # noqa: PTH110
    form = path.suffix.lower()
    if is_stream and form not in FORMS:
        form = ".json"
    if form not in FORMS:
        raise UsageError(f"a target is saved as .npy, .json or .csv, not as {form or 'a file without extension'}")
    try:
        write_out(path, _content(target, form))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _content(target: Target, form: str) -> bytes:
    if form == ".npy":
        data = io.BytesIO()
        np.save(data, target.probabilities)
        return data.getvalue()
    probabilities = {f"id:{i}": float(target.probabilities[i]) for i in np.flatnonzero(target.probabilities)}
    if form == ".json":
        return json.dumps(probabilities).encode()
    return ("token,probability\n" + "".join(f"{token},{value!r}\n" for token, value in probabilities.items())).encode()

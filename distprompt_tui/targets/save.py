"""Write a target as a file that `--target` reads again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from distprompt_tui.errors import UsageError
from distprompt_tui.files import write_atomically
from distprompt_tui.targets.target import Target


def save_target(target: Target, path: Path) -> None:
    """Write a target: `.npy` holds all of it, `.json` and `.csv` the tokens that have mass, by id.

    Raises:
        UsageError: another ending, or the file cannot be written.
    """
    masses = {f"id:{i}": float(target.probabilities[i]) for i in np.flatnonzero(target.probabilities)}
    try:
        match path.suffix:
            case ".npy":
                write_atomically(path, lambda file: np.save(file, target.probabilities))
            case ".json":
                write_atomically(path, lambda file: file.write(json.dumps(masses).encode()))
            case ".csv":
                rows = "".join(f"{token},{mass!r}\n" for token, mass in masses.items())
                write_atomically(path, lambda file: file.write(f"token,mass\n{rows}".encode()))
            case other:
                raise UsageError(f"a target is saved as .npy, .json or .csv, not as {other or 'a file without ending'}")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error

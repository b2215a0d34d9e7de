"""Distributions in .npy files, which may come from anybody."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.errors import UsageError, first_line


def read_row(path: Path) -> NDArray[np.float64]:
    """One row of masses.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else, or numbers that are negative, infinite or none.
    """
    stored = open_row(path)
    row = np.array(stored, dtype=np.float64)
    if not (np.isfinite(row).all() and row.min(initial=0) >= 0):
        raise ValueError(f"{path.name} has masses that are negative or not numbers")
    return row


def read_target(path: Path) -> NDArray[np.float64]:
    """A run's target, (V,).

    Raises:
        UsageError: it cannot be read; the text says why.
    """
    try:
        return read_row(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the run's target cannot be read: {error}") from error


def open_row(path: Path) -> NDArray[np.generic]:
    """One row of real numbers, mapped: nothing is unpickled, and nothing is read before its size is known.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", str(path))  # or a pipe, which would block
    try:
        with warnings.catch_warnings(action="ignore"):  # what numpy thinks of a file's age
            stored = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy's header is Python that is parsed: it fails in a dozen ways
        raise ValueError(f"{path.name} is not a .npy file of numbers: {first_line(error)}") from error
    if stored.ndim != 1 or stored.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} must hold one row of real numbers, not {stored.dtype} of shape {stored.shape}")
    return stored

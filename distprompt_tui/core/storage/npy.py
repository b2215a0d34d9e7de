"""Read distributions from untrusted .npy files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.errors import UsageError, first_line


def read_row(path: Path) -> NDArray[np.float64]:
    """Read one row of probabilities as float64.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a row of numbers, or has a number that is negative or not finite.
    """
    stored = open_row(path)
    row = np.array(stored, dtype=np.float64)
    if not (np.isfinite(row).all() and row.min(initial=0) >= 0):
        raise ValueError(f"{path.name} has negative or non-finite probabilities")
    return row


def read_target(path: Path) -> NDArray[np.float64]:
    """Read a run's target, (V,). Raises UsageError if this fails."""
    try:
        return read_row(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the run's target cannot be read: {error}") from error


def open_row(path: Path) -> NDArray[np.generic]:
    """Map one row of real numbers into memory, without unpickling and without reading data before checking the size.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a row of real numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))  # or a pipe, which would block
    try:
        with warnings.catch_warnings(action="ignore"):  # about old file formats
            stored = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # parsing the header, a Python literal, raises many types of errors
        raise ValueError(f"{path.name} is not a .npy file of numbers: {first_line(error)}") from error
    if stored.ndim != 1 or stored.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} must be one row of real numbers, not {stored.dtype} of shape {stored.shape}")
    return stored

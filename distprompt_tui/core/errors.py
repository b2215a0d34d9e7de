"""Exceptions that the command line reports as one line and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class DistPromptError(Exception):
    """Base class of expected failures, with a one-sentence message for the user.

    Attributes:
        exit_code: exit code of the process if the error is not caught.
    """

    exit_code = 1

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(DistPromptError):
    """Invalid input, such as an option, a preset's field or a token string."""

    exit_code = 2


class NotFoundError(DistPromptError):
    """A model, preset, run or file does not exist."""

    exit_code = 3


class TargetError(UsageError):
    """Invalid target; the message gives the reason and a valid alternative."""


class ModelError(DistPromptError):
    """A model cannot be prepared, loaded or run."""


def first_few(names: Sequence[str], most: int) -> str:
    """Join the first `most` names with commas, and count the others."""
    others = len(names) - most
    return ", ".join(names[:most]) + (f" and {others} more" if others > 0 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, and the next one after a colon; the type of an empty message."""
    lines = [line.strip() for line in str(error).splitlines()]
    if not lines or not lines[0]:
        return type(error).__name__
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


MOST_NAMES = 20  # that a hint lists: more than there are fields of a spec's table, far fewer than runs in a folder


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known names, or with the first `MOST_NAMES` of all.

    Args:
        name: the requested name.
        known: the existing names.

    Returns:
        "did you mean 'x' or 'y'?", "available: a, b, c", or "none available".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"available: {first_few(names, MOST_NAMES)}" if names else "none available"

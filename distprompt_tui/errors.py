"""What can go wrong, as a small family of errors that the command line turns into one line and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DistPromptError(Exception):
    """A failure that a person can understand and act upon; its text is one clear sentence.

    Attributes:
        exit_code: what the process ends with when nothing catches the error.
    """

    exit_code = 1

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(DistPromptError):
    """The request itself is wrong: an option, a preset's field, a token string."""

    exit_code = 2


class NotFoundError(DistPromptError):
    """A model, preset, run or file that is not there."""

    exit_code = 3


class TargetError(UsageError):
    """A target that cannot be made as asked; the text says why and what would work."""


class ModelError(DistPromptError):
    """A model that cannot be prepared, loaded or run as asked."""


def first_line(error: BaseException) -> str:
    """What a library's error says first; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def near_matches(name: str, known: Iterable[str]) -> str:
    """A half sentence with the closest known names, or with all of them.

    Args:
        name: what was asked for.
        known: what there is.

    Returns:
        "did you mean 'x' or 'y'?", or "there is: a, b, c".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"there is: {', '.join(names)}" if names else "there is none yet"

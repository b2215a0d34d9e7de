"""Errors of models that do not support gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distprompt_tui.core.errors import ModelError, first_line


@contextmanager
def backward_pass(name: str) -> Iterator[None]:
    """Convert the errors of model code without a backward pass in evaluation mode, such as Reformer's.

    Args:
        name: the model's name.

    Raises:
        ModelError: the model has no backward pass.
    """
    try:
        yield
    except (AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"{name} gives no gradients ({first_line(error)}): use the method 'hard', 'random' or 'exhaustive'"
        ) from error

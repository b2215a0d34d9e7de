"""Forward passes compiled by torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from distprompt_tui.models.forward import Forward


@cache
def compiled(forward: Forward, backend: str | Callable[..., Any] = "inductor") -> Forward:
    """Return a forward pass that compiles the backbone at its first call, and again for each new shape of the inputs.

    Later searches with the same forward pass get the same function, and so its code.
    """
    function: Forward = torch.compile(forward, backend=backend, dynamic=False)
    return function

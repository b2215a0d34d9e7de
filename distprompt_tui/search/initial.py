"""Where searches start: random tokens and texts."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel


def usable_ids(model: LanguageModel) -> Tensor:
    """Ids that a prompt may hold: tokens that stand for bytes, so no control tokens and no padding rows; (count,)."""
    usable = torch.from_numpy(model.vocabulary.allowed.copy())
    usable[list(model.vocabulary.special_ids)] = False
    return usable.nonzero()[:, 0].to(model.device)


def random_ids(model: LanguageModel, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniformly drawn usable ids of the given shape. Drawn on the CPU: the same on every device."""
    usable = usable_ids(model)
    return usable[torch.randint(len(usable), shape, generator=generator).to(usable.device)]


def text_ids(model: LanguageModel, text: str, length: int) -> Tensor:
    """The ids of a text, repeated or cut to `length`, (length,).

    Raises:
        UsageError: the text has no tokens.
    """
    ids = model.vocabulary.encode(text)
    if not ids:
        raise UsageError(f"init_text {text!r} has no tokens")
    repeated = ids * (length // len(ids) + 1)
    return torch.tensor(repeated[:length], device=model.device)

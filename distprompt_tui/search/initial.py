"""Where searches start: random tokens, texts, and prompts that were found before."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.prompts import read_prompt


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


def prompt_vectors(model: LanguageModel, path: Path, length: int) -> Tensor:
    """The vectors of a prompt in a file or folder, (length, d) float32; a hard prompt's are its tokens' embeddings.

    Raises:
        UsageError: there is no prompt, or it does not fit the model or the length.
    """
    found = read_prompt(path)
    if isinstance(found, list):
        if max(found) >= len(model.embedding_matrix):
            raise UsageError(f"{path} holds the token {max(found)}, which {model.name} does not have")
        vectors = model.embedding(torch.tensor(found, device=model.device))
    else:
        vectors = torch.from_numpy(found).to(model.device)
    if vectors.shape[1] != model.hidden_size:
        raise UsageError(f"{path} holds vectors of width {vectors.shape[1]}; {model.name} has {model.hidden_size}")
    if len(vectors) != length:
        raise UsageError(f"{path} holds {len(vectors)} vectors, not {length}: set search.length={len(vectors)}")
    return vectors.clone()

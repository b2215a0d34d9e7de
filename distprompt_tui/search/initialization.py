"""Where searches start: random tokens, texts, and prompts that were found before."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.config.spec import SwapSearchConfig, TokenSearchConfig
from distprompt_tui.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.storage.prompt_files import read_prompt

PRINTABLE = frozenset(f"{string.ascii_letters}{string.digits}{string.punctuation} ".encode())
"""The bytes of "printable" tokens."""

TARGET_TOKEN_SHARE = 0.5
"""Chance that a position of a bank prompt is drawn from the target instead of from the whole vocabulary."""

LEAST_DRAWN = 64
DRAWS = 8
"""So many prompts at least, and so often, are drawn to find enough whose text gives the same ids."""

GROWN_CHOICES = 1024
"""So many tokens are tried at each position where no whole prompt that was drawn survives being written."""

NEAREST = 64
"""So many of the nearest tokens are tried for a vector before one that does not survive being written is taken."""


def usable_ids(model: LanguageModel) -> Tensor:
    """Ids that a prompt may hold: tokens that stand for bytes, so no control tokens and no padding rows; (count,)."""
    usable = torch.from_numpy(model.vocabulary.allowed.copy())
    usable[list(model.vocabulary.special_ids)] = False
    return usable.nonzero()[:, 0].to(model.device)


def allowed_ids(model: LanguageModel, settings: TokenSearchConfig) -> Tensor:
    """Ids that a search's settings let into a prompt, rising, (count,).

    Raises:
        UsageError: there is none, or a token that is named may not stand in any prompt.
    """
    vocabulary = model.vocabulary
    usable = usable_ids(model).tolist()
    if settings.allow_tokens:
        named = {vocabulary.id_of(token) for token in settings.allow_tokens}
        if control := sorted(named - set(usable)):
            raise UsageError(f"search.allow_tokens: {vocabulary.text(control[0])!r} is a control token")
        usable = sorted(named)
    if settings.allowed == "printable":
        usable = [i for i in usable if PRINTABLE.issuperset(vocabulary.token_bytes(i) or b"\0")]
    if settings.allow_regex is not None:
        pattern = re.compile(settings.allow_regex)
        usable = [i for i in usable if pattern.fullmatch(vocabulary.text(i))]
    if not usable:
        raise UsageError("search.allowed, allow_regex and allow_tokens leave no token to put into the prompt")
    return torch.tensor(usable, device=model.device)


def sample(choices: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniformly drawn choices of the given shape. Drawn on the CPU: the same on every device."""
    return choices[torch.randint(len(choices), shape, generator=generator).to(choices.device)]


def random_ids(model: LanguageModel, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniformly drawn usable ids of the given shape."""
    return sample(usable_ids(model), shape, generator)


def initial_prompts(
    model: LanguageModel, settings: SwapSearchConfig, allowed: Tensor, target: Tensor, generator: torch.Generator
) -> Tensor:
    """Hard prompts to start from, (count, n): one, or in a bank many whose text gives the same ids.

    Args:
        model: gives tokens and embeddings.
        settings: `init` and what goes with it.
        allowed: ids that may be drawn, (count,).
        target: p, (V,), where half of a bank's tokens come from.
        generator: for the random ones.

    Raises:
        UsageError: the text has no tokens, or the prompt does not fit the model and the length.
    """
    if settings.init_text is not None:
        return text_ids(model, settings.init_text, settings.length)[None]
    if settings.init_prompt is not None:
        return prompt_ids(model, Path(settings.init_prompt), settings.length, allowed)[None]
    bank = settings.init == "initial_pool"
    wanted = settings.initial_pool if bank else 1
    kept: list[Tensor] = []
    for _ in range(DRAWS):
        drawn = sample(allowed, (max(wanted, LEAST_DRAWN), settings.length), generator)
        if bank:
            drawn = mix_target_tokens(drawn, allowed, target, generator)
        kept += [ids for ids, good in zip(drawn, is_retokenization_stable(model, drawn.tolist()), strict=True) if good]
        if len(kept) >= wanted:
            break
    return torch.stack(kept[:wanted] or [_grown(model, allowed, settings.length, generator)])


def mix_target_tokens(drawn: Tensor, allowed: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Prompts with about half of their tokens drawn from the target, where it has any that are allowed."""
    masses = target[allowed].cpu()
    if not masses.any() or not drawn.numel():
        return drawn
    likely = torch.multinomial(masses, drawn.numel(), replacement=True, generator=generator).view(drawn.shape)
    from_target = torch.rand(drawn.shape, generator=generator) < TARGET_TOKEN_SHARE
    return torch.where(from_target.to(drawn.device), allowed[likely.to(drawn.device)], drawn)


def text_ids(model: LanguageModel, text: str, length: int) -> Tensor:
    """The ids of a text, repeated or cut to `length`, (length,).

    Raises:
        UsageError: the text has no tokens.
    """
    ids = model.encode_prompt(text)
    if not ids:
        raise UsageError(f"init_text {text!r} has no tokens")
    repeated = ids * (length // len(ids) + 1)
    return torch.tensor(repeated[:length], device=model.device)


def prompt_vectors(model: LanguageModel, path: Path, length: int) -> Tensor:
    """The vectors of a prompt in a file or folder, (length, d) float32; a hard prompt's are its tokens' embeddings.

    Raises:
        UsageError: there is no prompt, or it does not fit the model or the length.
    """
    found = _read_fitting(model, path, length)
    return found if found.is_floating_point() else model.embedding(found).clone()


def prompt_ids(model: LanguageModel, path: Path, length: int, allowed: Tensor) -> Tensor:
    """The ids of a prompt in a file or folder, (length,); a soft prompt's are the nearest allowed tokens.

    Raises:
        UsageError: there is no prompt, or it does not fit the model or the length.
    """
    found = _read_fitting(model, path, length)
    return nearest_ids(model, found, allowed) if found.is_floating_point() else found


def nearest_ids(model: LanguageModel, vectors: Tensor, allowed: Tensor) -> Tensor:
    """Allowed tokens for vectors, by cosine, (n,): from left to right the nearest with which the text gives the ids
    again, or the nearest of all where none does.

    Args:
        model: gives embeddings and tokenizer.
        vectors: (n, d).
        allowed: ids, (count,).
    """
    matrix = torch.nn.functional.normalize(model.embedding_matrix[allowed], dim=1)
    nearest = (vectors @ matrix.T).topk(min(NEAREST, len(allowed))).indices  # a vector's own length ranks nothing
    return _first_surviving(model, allowed[nearest])


def _grown(model: LanguageModel, allowed: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """A random prompt, (length,), whose text gives its ids again where one can be found from left to right."""
    orders = [torch.randperm(len(allowed), generator=generator)[:GROWN_CHOICES] for _ in range(length)]
    return _first_surviving(model, allowed[torch.stack(orders).to(allowed.device)])


def _first_surviving(model: LanguageModel, choices_by_position: Tensor) -> Tensor:
    """Of choices for each position, (n, count), from left to right the first with which the text gives the ids again,
    or the first of all where none does; (n,)."""
    ids: list[int] = []
    unfinished = replace(model, suffix_ids=(), added=(model.added[0], 0))
    for position, choices in enumerate(choices_by_position.tolist()):
        context = model if position == len(choices_by_position) - 1 else unfinished
        survives = is_retokenization_stable(context, [[*ids, choice] for choice in choices])
        ids.append(choices[survives.index(True) if any(survives) else 0])
    return torch.tensor(ids, device=model.device)


def _read_fitting(model: LanguageModel, path: Path, length: int) -> Tensor:
    """Vectors, (length, d) float32, or ids, (length,)."""
    read = read_prompt(path)
    found = torch.tensor(read) if isinstance(read, list) else torch.from_numpy(read)
    if not found.is_floating_point():
        if int(found.max()) >= len(model.embedding_matrix):
            raise UsageError(f"{path} holds the token {int(found.max())}, which {model.name} does not have")
    elif found.shape[1] != model.hidden_size:
        raise UsageError(f"{path} holds vectors of width {found.shape[1]}; {model.name} has {model.hidden_size}")
    if len(found) != length:
        kind = "vectors" if found.is_floating_point() else "tokens"
        raise UsageError(f"{path} holds {len(found)} {kind}, not {length}: set search.length={len(found)}")
    return found.to(model.device)

"""Initial prompts of searches: random tokens, texts and existing prompts."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import SwapSearchConfig, TokenSearchConfig
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.large_matrix import float32_rows
from distprompt_tui.search.retokenization import is_retokenization_stable

PRINTABLE = frozenset(f"{string.ascii_letters}{string.digits}{string.punctuation} ".encode())
"""Bytes of "printable" tokens."""

TARGET_TOKEN_SHARE = 0.5
"""Probability of drawing a position of a pool prompt from the target instead of the whole vocabulary."""

LEAST_DRAWN = 64
DRAWS = 8
"""Minimum number of prompts in a draw, and maximum number of draws, to find enough that are stable under
retokenization."""

GROWN_CHOICES = 1024  # number of tokens tried at each position if no drawn prompt is stable under retokenization

NEAREST = 64  # number of nearest tokens tried for a vector before an unstable one is used


def usable_ids(model: LanguageModel) -> Tensor:
    """Return the ids of tokens with bytes, without control tokens and padding rows, (count,) on the CPU."""
    usable = torch.from_numpy(model.vocabulary.allowed.copy())
    usable[list(model.vocabulary.special_ids)] = False
    return usable.nonzero()[:, 0]


def allowed_ids(model: LanguageModel, settings: TokenSearchConfig) -> Tensor:
    """Return the ids that a search's settings allow in a prompt, ascending, (count,) on the CPU.

    Raises:
        UsageError: no token is allowed, or `allow_tokens` contains an unusable token.
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
        raise UsageError("search.allowed, allow_regex and allow_tokens exclude every token")
    return torch.tensor(usable)


def sample(choices: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from choices on the CPU, so that the draw is equal for every device."""
    return choices[torch.randint(len(choices), shape, generator=generator)]


def random_ids(model: LanguageModel, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return sample(usable_ids(model), shape, generator)


def initial_prompts(
    model: LanguageModel, settings: SwapSearchConfig, allowed: Tensor, target: Tensor, generator: torch.Generator
) -> Tensor:
    """Return initial prompts, (count, n) on the CPU: one, or an initial pool of prompts stable under retokenization.

    Random tokens are drawn from `allowed`, (count,), and for half of a pool's tokens from the target p, (V,).

    Raises:
        UsageError: the text has no tokens, or the prompt does not fit the model or the length.
    """
    if settings.init_text is not None:
        return text_ids(model, settings.init_text, settings.length)[None]
    if settings.init_prompt is not None:
        return prompt_ids(model, Path(settings.init_prompt), settings.length, allowed)[None]
    from_pool = settings.init == "initial_pool"
    wanted = settings.initial_pool if from_pool else 1
    kept: list[Tensor] = []
    for _ in range(DRAWS):
        drawn = sample(allowed, (max(wanted, LEAST_DRAWN), settings.length), generator)
        if from_pool:
            drawn = mix_target_tokens(drawn, allowed, target, generator)
        kept += [ids for ids, good in zip(drawn, is_retokenization_stable(model, drawn.tolist()), strict=True) if good]
        if len(kept) >= wanted:
            break
    return torch.stack(kept[:wanted] or [_grown(model, allowed, settings.length, generator)])


def mix_target_tokens(drawn: Tensor, allowed: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Replace about half of the drawn tokens by draws from the target's allowed tokens, if there are any."""
    weights = target[allowed]
    if not weights.any() or not drawn.numel():
        return drawn
    likely = torch.multinomial(weights, drawn.numel(), replacement=True, generator=generator).view(drawn.shape)
    from_target = torch.rand(drawn.shape, generator=generator) < TARGET_TOKEN_SHARE
    return torch.where(from_target, allowed[likely], drawn)


def text_ids(model: LanguageModel, text: str, length: int) -> Tensor:
    """Tokenise a text, and repeat or cut the ids to (length,) on the CPU.

    Raises:
        UsageError: the text has no tokens.
    """
    ids = model.encode_prompt(text)
    if not ids:
        raise UsageError(f"init_text {text!r} has no tokens")
    repeated = ids * (length // len(ids) + 1)
    return torch.tensor(repeated[:length])


def prompt_vectors(model: LanguageModel, path: Path, length: int) -> Tensor:
    """Read the vectors of a soft prompt, or the embeddings of a hard one, (length, d) float32.

    Raises:
        UsageError: there is no prompt, or it does not fit the model or the length.
    """
    found = _read_fitting(model, path, length)
    return found if found.is_floating_point() else model.embedding(found).clone()


def prompt_ids(model: LanguageModel, path: Path, length: int, allowed: Tensor) -> Tensor:
    """Read the ids of a hard prompt, or the nearest allowed tokens of a soft one, (length,) on the CPU.

    Raises:
        UsageError: there is no prompt, or it does not fit the model or the length.
    """
    found = _read_fitting(model, path, length)
    return nearest_ids(model, found, allowed) if found.is_floating_point() else found.cpu()


def nearest_ids(model: LanguageModel, vectors: Tensor, allowed: Tensor) -> Tensor:
    """Find the allowed tokens, (count,), nearest to vectors, (n, d), by cosine; (n,) on the CPU.

    From left to right, choose the nearest token that keeps the prompt stable under retokenization, else the nearest.
    """
    chunks = float32_rows(model.embedding_matrix, allowed.to(model.device))
    cosines = [vectors @ torch.nn.functional.normalize(rows, dim=1).T for _, rows in chunks]  # up to a factor by vector
    nearest = torch.cat(cosines, dim=1).topk(min(NEAREST, len(allowed))).indices
    return _first_surviving(model, allowed[nearest.cpu()])


def _grown(model: LanguageModel, allowed: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Build a random prompt, (length,), from left to right, stable under retokenization if possible."""
    orders = [torch.randperm(len(allowed), generator=generator)[:GROWN_CHOICES] for _ in range(length)]
    return _first_surviving(model, allowed[torch.stack(orders)])


def _first_surviving(model: LanguageModel, choices_by_position: Tensor) -> Tensor:
    """For each position, select the first choice, (n, count), stable under retokenization, else the first; (n,)."""
    ids: list[int] = []
    unfinished = replace(model, suffix_ids=(), added=(model.added[0], 0))
    for position, choices in enumerate(choices_by_position.tolist()):
        context = model if position == len(choices_by_position) - 1 else unfinished
        survives = is_retokenization_stable(context, [[*ids, choice] for choice in choices])
        ids.append(choices[survives.index(True) if any(survives) else 0])
    return torch.tensor(ids)


def _read_fitting(model: LanguageModel, path: Path, length: int) -> Tensor:
    read = read_prompt(path)
    found = torch.tensor(read) if isinstance(read, list) else torch.from_numpy(read)
    if not found.is_floating_point():
        if int(found.max()) >= len(model.embedding_matrix):
            raise UsageError(f"{path} contains the token id {int(found.max())}, which {model.name} does not have")
    elif found.shape[1] != model.hidden_size:
        raise UsageError(f"{path} contains vectors of width {found.shape[1]}; {model.name} has {model.hidden_size}")
    if len(found) != length:
        kind = "vectors" if found.is_floating_point() else "tokens"
        raise UsageError(f"{path} contains {len(found)} {kind}, not {length}: set search.length={len(found)}")
    return found.to(model.device)

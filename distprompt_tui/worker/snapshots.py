"""What a prompt and its distribution look like to a person: nearest tokens, largest tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distprompt_tui.metrics.divergence import compare
from distprompt_tui.metrics.kl_terms import kl_contributions
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.search.protocol import HardPrompt, PositionCandidates, Prompt, SoftPrompt

TOP_TOKENS = 30
"""So many of the largest in target, in achieved and in share of the divergence go into a snapshot."""


@torch.no_grad()
def prompt_tokens(model: LanguageModel, prompt: Prompt, surprisal: Sequence[float | None] = ()) -> list[dict[str, Any]]:
    """The prompt, position by position, in the form of `runs.state.PromptToken`.

    A soft prompt's vectors are named by the nearest token by cosine.

    Args:
        model: in the run's context.
        prompt: soft or hard.
        surprisal: of a hard prompt's tokens, as `surprisal.surprisals` has them; empty where nobody asked.
    """
    text = model.vocabulary.text
    if isinstance(prompt, HardPrompt):
        tokens = [_prompt_token(prompt, position, text(i)) for position, i in enumerate(prompt.ids.tolist())]
        return (
            [token | {"surprisal": value} for token, value in zip(tokens, surprisal, strict=True)]
            if surprisal
            else tokens
        )
    nearest = nearest_tokens(model, prompt.vectors)
    return [
        {"id": i, "text": text(i), "cosine": round(c, 4), "norm": round(n, 3), "distance": round(distance, 3)}
        for i, c, n, distance in zip(*(values.tolist() for values in astuple(nearest)), strict=True)
    ]


def _prompt_token(prompt: HardPrompt, position: int, text: str) -> dict[str, Any]:
    token = {"id": int(prompt.ids[position]), "text": text, "changed": prompt.changed[position]}
    if prompt.gained and (gained := prompt.gained[position]) is not None:
        token["gained"] = round(gained, 6)
    if position in prompt.locked:
        token["locked"] = True
    return token


def candidate_rows(vocabulary: Vocabulary, prompt: Prompt) -> list[list[Any] | None]:
    """What was tried at each position of a hard prompt, in the form of `runs.state.Tried`; of a soft one, nothing."""
    if not isinstance(prompt, HardPrompt):
        return []
    return [None if tried is None else _tried_row(vocabulary, tried) for tried in prompt.tried]


def _tried_row(vocabulary: Vocabulary, tried: PositionCandidates) -> list[Any]:
    tokens = [[i, vocabulary.text(i), round(kl, 6), i in tried.screened] for i, kl in tried.tokens]
    return [tried.step, round(tried.kl, 6), tokens]


@dataclass(frozen=True)
class Nearest:
    """The nearest token of each of n vectors by cosine, (n,) each.

    Attributes:
        ids: the tokens.
        cosines: with their embeddings.
        norms: of the vectors, over the mean norm of the vocabulary's embeddings.
        distances: from the tokens' embeddings, over the same.
    """

    ids: Tensor
    cosines: Tensor
    norms: Tensor
    distances: Tensor


def nearest_tokens(model: LanguageModel, vectors: Tensor) -> Nearest:
    """Where vectors, (n, d), stand among the embeddings.

    Rows without direction (untrained, all zero) and rows without a token are never the nearest.
    """
    matrix = model.embedding_matrix
    lengths = matrix.norm(dim=1)
    usable = model.head.allowed & (lengths > 0)
    norms = vectors.norm(dim=1)
    cosines = (vectors @ matrix.T) / (norms[:, None] * lengths).clamp_min(1e-12)
    best, ids = cosines.masked_fill(~usable, -torch.inf).max(dim=1)
    mean = lengths[usable].mean()
    return Nearest(ids, best, norms / mean, (vectors - matrix[ids]).norm(dim=1) / mean)


@torch.no_grad()
def projection(model: LanguageModel, target: Tensor, prompt: SoftPrompt) -> dict[str, Any]:
    """A soft prompt's nearest tokens as a hard prompt, in the form of `runs.state.Projection`.

    Args:
        model: in the run's context.
        target: p, (V,) float64 on the CPU.
        prompt: soft.
    """
    nearest = nearest_tokens(model, prompt.vectors)
    kl = compare(target, model.next_token_logits(nearest.ids[None])[0]).numbers.kl
    return {"ids": nearest.ids.tolist(), "kl": kl, "drift": round(float(nearest.distances.median()), 3)}


@torch.no_grad()
def kl_of_text(model: LanguageModel, target: Tensor, ids: list[int]) -> float:
    """Divergence after the text of a hard prompt in its context, as an ordinary call of the tokenizer gives it.

    Args:
        model: in the run's context.
        target: p, (V,) float64 on the CPU.
        ids: of the prompt.
    """
    again = model.vocabulary.encode_alone(model.vocabulary.decode(model.text_ids(ids)))
    bare = replace(model, prefix_ids=(), suffix_ids=())
    return compare(target, bare.next_token_logits(torch.tensor([again], device=model.device))[0]).numbers.kl


def top_tokens(vocabulary: Vocabulary, target: Tensor, achieved: Tensor) -> list[list[Any]]:
    """The largest tokens in the form of `runs.state.TokenMass`, by the larger of target and achieved.

    Args:
        vocabulary: names them.
        target: p, (V,) float64 on the CPU.
        achieved: q, (V,) float64 on the CPU.

    Returns:
        Rows of id, text, p, q and share of the divergence in nats.
    """
    share = torch.from_numpy(kl_contributions(target.numpy(), achieved.numpy()))
    count = min(TOP_TOKENS, len(target))
    ids = torch.cat([values.topk(count).indices for values in (target, achieved, share)]).unique()
    ids = ids[torch.maximum(target[ids], achieved[ids]).argsort(descending=True, stable=True)]
    return [[i, vocabulary.text(i), float(target[i]), float(achieved[i]), float(share[i])] for i in ids.tolist()]

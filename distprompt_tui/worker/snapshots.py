"""Build the parts of a snapshot from a prompt and its distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor

from distprompt_tui.core.metrics.divergence import compare
from distprompt_tui.core.metrics.kl_terms import kl_contributions
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.large_matrix import float32_product, row_norms
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.runs.schema import PositionCandidates, Projection, PromptToken, TokenMass, TriedToken
from distprompt_tui.search import protocol
from distprompt_tui.search.protocol import HardPrompt, Prompt, SoftPrompt

TOP_TOKENS = 30  # in a snapshot, by target, achieved and KL contribution each


@torch.no_grad()
def prompt_tokens(
    model: LanguageModel, prompt: Prompt, surprisal: Sequence[float | None] = ()
) -> tuple[PromptToken, ...]:
    """Return one entry for each position. For a soft prompt, it contains the nearest token by cosine.

    `surprisal`: of a hard prompt's tokens, from `surprisal.surprisals`; empty if not measured.
    """
    text = model.vocabulary.text
    if isinstance(prompt, HardPrompt):
        improvement = (
            None if value is None else round(value, 6) for value in prompt.improvement or [None] * len(prompt.ids)
        )
        return tuple(
            PromptToken(
                i, text(i), changed=changed, improvement=gain, locked=position in prompt.locked, surprisal=value
            )
            for position, (i, changed, gain, value) in enumerate(
                zip(
                    prompt.ids.tolist(), prompt.changed, improvement, surprisal or [None] * len(prompt.ids), strict=True
                )
            )
        )
    nearest = nearest_tokens(model, prompt.vectors)
    return tuple(
        PromptToken(i, text(i), cosine=round(cosine, 4), norm=round(norm, 3), distance=round(distance, 3))
        for i, cosine, norm, distance in zip(*(values.tolist() for values in astuple(nearest)), strict=True)
    )


def candidate_rows(vocabulary: Vocabulary, prompt: Prompt) -> tuple[PositionCandidates | None, ...]:
    """Return the tokens that were tried at each position of a hard prompt; empty for a soft prompt."""
    if not isinstance(prompt, HardPrompt):
        return ()
    return tuple(None if tried is None else _tried(vocabulary, tried) for tried in prompt.tried)


def _tried(vocabulary: Vocabulary, tried: protocol.PositionCandidates) -> PositionCandidates:
    tokens = (TriedToken(i, vocabulary.text(i), round(kl, 6), i in tried.draft_only) for i, kl in tried.tokens)
    return PositionCandidates(tried.step, round(tried.kl, 6), tuple(tokens))


@dataclass(frozen=True)
class Nearest:
    """The nearest token of each of n vectors by cosine, (n,) each."""

    ids: Tensor
    cosines: Tensor  # of the vectors and the tokens' embeddings
    norms: Tensor  # of the vectors, over the mean norm of the vocabulary's embeddings
    distances: Tensor  # between the vectors and the tokens' embeddings, over the same mean norm


def nearest_tokens(model: LanguageModel, vectors: Tensor) -> Nearest:
    """Find the nearest tokens of vectors, (n, d). All-zero (untrained) rows and rows without a token are excluded."""
    matrix = model.embedding_matrix
    lengths = row_norms(matrix)
    usable = model.head.allowed.to(model.device) & (lengths > 0)
    norms = vectors.norm(dim=1)
    cosines = float32_product(vectors, matrix) / (norms[:, None] * lengths).clamp_min(1e-12)
    best, ids = cosines.masked_fill(~usable, -torch.inf).max(dim=1)
    mean = lengths[usable].mean()
    return Nearest(ids, best, norms / mean, (vectors - matrix[ids]).norm(dim=1) / mean)


@torch.no_grad()
def projection(model: LanguageModel, target: Tensor, prompt: SoftPrompt, step: int) -> Projection:
    """Score a soft prompt's nearest tokens as a hard prompt. `target` is p, (V,) float64 on the CPU."""
    nearest = nearest_tokens(model, prompt.vectors)
    kl = compare(target, model.next_token_logits(nearest.ids[None])[0]).numbers.kl
    return Projection(step, tuple(nearest.ids.tolist()), kl, round(float(nearest.distances.median()), 3))


@torch.no_grad()
def kl_of_text(model: LanguageModel, target: Tensor, ids: list[int]) -> float:
    """Compute the divergence after the text of a hard prompt in its context, tokenized by a plain tokenizer call.

    `target` is p, (V,) float64 on the CPU.
    """
    again = model.vocabulary.encode_alone(model.vocabulary.decode(model.text_ids(ids)))
    bare = replace(model, prefix_ids=(), suffix_ids=())
    return compare(target, bare.next_token_logits(torch.tensor([again], device=model.device))[0]).numbers.kl


def top_tokens(vocabulary: Vocabulary, target: Tensor, achieved: Tensor) -> tuple[TokenMass, ...]:
    """Return the largest tokens by target, achieved or KL contribution, sorted by the larger of target and achieved.

    `target` and `achieved` are (V,) float64 on the CPU.
    """
    contribution = torch.from_numpy(kl_contributions(target.numpy(), achieved.numpy()))
    count = min(TOP_TOKENS, len(target))
    ids = torch.cat([values.topk(count).indices for values in (target, achieved, contribution)]).unique()
    ids = ids[torch.maximum(target[ids], achieved[ids]).argsort(descending=True, stable=True)]
    columns = (ids, target[ids], achieved[ids], contribution[ids])
    return tuple(
        TokenMass(i, vocabulary.text(i), p, q, part)
        for i, p, q, part in zip(*(values.tolist() for values in columns), strict=True)
    )

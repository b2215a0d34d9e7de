"""Pure pieces of searches over tokens: which swaps promise most, the prompts that they make, and what these share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def swap_scores(
    gradient: Tensor, ids: Tensor, matrix: Tensor, forbidden: Tensor, surprisal: Tensor | None = None
) -> Tensor:
    """First-order change of the objective for putting token v at position i: (E_v − E_current) · gradient.

    Args:
        gradient: of the objective by the prompt's embeddings, (n, d).
        ids: the prompt, (n,).
        matrix: embeddings, (V, d).
        forbidden: what may not be put where, (n, V) bool, or one that broadcasts to it.
        surprisal: what the objective holds for the tokens' own unlikeliness, (n, V): it changes by the difference.

    Returns:
        (n, V); barred swaps, and those that change nothing, are infinitely bad.
    """
    scores = gradient @ matrix.T - (gradient * matrix[ids]).sum(-1, keepdim=True)
    if surprisal is not None:
        scores = scores + surprisal - surprisal.gather(1, ids[:, None])
    return scores.masked_fill(forbidden, torch.inf).scatter(1, ids[:, None], torch.inf)


def best_overall(scores: Tensor, count: int) -> Tensor:
    """The `count` best-ranked swaps of all that are not infinitely bad, the best first, (at most count, 2)."""
    values, places = scores.flatten().topk(min(count, scores.numel()), largest=False)
    places = places[torch.isfinite(values)]
    return torch.stack([places // scores.shape[1], places % scores.shape[1]], dim=1)


def random_replacements(
    ids: Tensor, free: Tensor, tokens: Tensor, width: int, n_replace: int, generator: torch.Generator
) -> Tensor:
    """A prompt with `n_replace` random positions replaced by a random one of each position's tokens, `width` times.

    Args:
        ids: the prompt, (n,).
        free: positions that may change, (count,).
        tokens: what may be put at each position, (n, k).
        width: prompts to make.
        n_replace: positions to change in each.
        generator: on the CPU.

    Returns:
        (width, n).
    """
    order = torch.rand(width, len(free), generator=generator).argsort(dim=1)[:, :n_replace]
    columns = torch.randint(tokens.shape[1], order.shape, generator=generator).to(ids.device)
    positions = free[order.to(ids.device)]
    return ids.repeat(width, 1).scatter(1, positions, tokens[positions, columns])


def swapped(ids: Tensor, swaps: Tensor) -> Tensor:
    """A prompt, (n,), with each of the swaps, (count, 2) of position and token, made; (count, n)."""
    prompts = ids.repeat(len(swaps), 1)
    prompts[torch.arange(len(swaps)), swaps[:, 0]] = swaps[:, 1]
    return prompts


def prompt_hashes(prompts: Tensor) -> list[int]:
    """A number of 64 bits for each prompt of (count, n): the same on every machine, two alike only by great chance."""
    rows = prompts.cpu().numpy().astype("<i4")
    return [int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little", signed=True) for row in rows]


def first_changes(base: Tensor, prompts: Tensor) -> Tensor:
    """The first position where each prompt differs from a base prompt, (count,); the shorter one's end where none does.

    Args:
        base: ids, (m,).
        prompts: ids, (count, n).
    """
    common = min(len(base), prompts.shape[1])
    differs = prompts[:, :common] != base[:common]
    return torch.where(differs.any(1), differs.int().argmax(1) if common else 0, common)


def bucket_starts(firsts: NDArray[np.integer] | Sequence[int], length: int, cost: Callable[[int], float]) -> list[int]:
    """Where to cut prompts that share a beginning, so that measuring them costs least.

    A bucket takes the prompts that change first at its start or later, up to the next bucket's start; all of them run
    from its start to their end. It costs as many positions as that is, and what its start costs. One may start at 0,
    whether or not a prompt changes there.

    Args:
        firsts: the first position at which each prompt differs.
        length: positions of a whole prompt, with what stands around it.
        cost: of a bucket besides that, by its start, in positions.

    Returns:
        The buckets' starts, rising.
    """
    positions, counts = np.unique(np.append(firsts, 0), return_counts=True)
    counts[0] -= 1  # the one that was appended
    below = np.concatenate([[0], counts.cumsum()])
    overheads = np.array([cost(int(position)) for position in positions])
    cheapest = np.zeros(len(positions) + 1)
    opened = np.zeros(len(positions) + 1, dtype=int)
    for end in range(1, len(positions) + 1):
        inside = below[end] - below[:end]
        costs = cheapest[:end] + np.where(inside > 0, inside * (length - positions[:end]) + overheads[:end], 0)
        opened[end] = costs.argmin()
        cheapest[end] = costs.min()
    starts = []
    end = len(positions)
    while end:
        start = int(opened[end])
        if below[end] > below[start]:
            starts.append(int(positions[start]))
        end = start
    return starts[::-1]

"""Pure functions for token searches: scores of swaps, candidate prompts, and their shared prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distprompt_tui.models.large_matrix import float32_product
from distprompt_tui.search.transfers import together


def swap_scores(
    gradient: Tensor, ids: Tensor, matrix: Tensor, forbidden: Tensor, surprisal: Tensor | None = None
) -> Tensor:
    """Compute the first-order change of the objective for token v at position i: (E_v − E_current) · gradient.

    Args:
        gradient: of the objective with respect to the prompt's embeddings, (n, d).
        ids: the prompt, (n,), on the device of the others.
        matrix: embeddings, (V, d).
        forbidden: forbidden swaps, (n, V) bool or broadcastable to it.
        surprisal: the objective's fluency term by position and token, (n, V); its difference is added.

    Returns:
        (n, V); infinite for forbidden swaps and current tokens.
    """
    scores = float32_product(gradient, matrix) - (gradient * matrix[ids]).sum(-1, keepdim=True)
    if surprisal is not None:
        scores = scores + surprisal - surprisal.gather(1, ids[:, None])
    return scores.masked_fill(forbidden, torch.inf).scatter(1, ids[:, None], torch.inf)


def best_overall(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Find the `count` swaps with the lowest finite scores in each of several tables.

    Args:
        scores: tables, (n, V) each, on one device. The host waits for it once.
        count: maximum number of swaps.

    Returns:
        Swaps of each table, best first, (at most count, 2) on the CPU.
    """
    lowest = [table.flatten().topk(min(count, table.numel()), largest=False) for table in scores]
    copies = iter(together([part for values_and_places in lowest for part in values_and_places]))
    found = []
    for table, values, places in zip(scores, copies, copies, strict=False):
        finite = places[torch.isfinite(values)]
        found.append(torch.stack([finite // table.shape[1], finite % table.shape[1]], dim=1))
    return found


def random_replacements(
    ids: Tensor, free: Tensor, tokens: Tensor, width: int, n_replace: int, generator: torch.Generator
) -> Tensor:
    """Make variants of a prompt, (n,), each with random tokens at `n_replace` random positions; return (width, n).

    Args:
        free: positions that may change, (count,).
        tokens: allowed tokens of each position, (n, k).
        generator: on the CPU.
    """
    order = torch.rand(width, len(free), generator=generator).argsort(dim=1)[:, :n_replace]
    columns = torch.randint(tokens.shape[1], order.shape, generator=generator)
    positions = free[order]
    return ids.repeat(width, 1).scatter(1, positions, tokens[positions, columns])


def swapped(ids: Tensor, swaps: Tensor) -> Tensor:
    """Apply each swap, (count, 2) of position and token, to a prompt, (n,); return (count, n)."""
    prompts = ids.repeat(len(swaps), 1)
    prompts[torch.arange(len(swaps)), swaps[:, 0]] = swaps[:, 1]
    return prompts


def prompt_hashes(prompts: Tensor) -> list[int]:
    """Return a 64-bit hash of each prompt of (count, n), equal on every machine."""
    rows = prompts.numpy().astype("<i4")
    return [int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little", signed=True) for row in rows]


def first_changes(base: Tensor, prompts: Tensor) -> Tensor:
    """Return the first position at which each prompt, (count, n), differs from a base prompt, (m,); (count,).

    If there is no difference, this is the length of the shorter one.
    """
    common = min(len(base), prompts.shape[1])
    differs = prompts[:, :common] != base[:common]
    return torch.where(differs.any(1), differs.int().argmax(1) if common else 0, common)


def bucket_starts(firsts: NDArray[np.integer] | Sequence[int], length: int, cost: Callable[[int], float]) -> list[int]:
    """Divide prompts into buckets with a shared prefix, such that measuring them costs the least.

    A bucket contains the prompts whose first change is between its start and the next bucket's start; they run from its
    start to their end. It costs these positions and an overhead. A bucket may start at 0 even if no prompt changes
    there.

    Args:
        firsts: first changed position of each prompt.
        length: positions of a whole prompt in its context.
        cost: start of a bucket → overhead, in positions.

    Returns:
        The starts of the buckets, ascending.
    """
    positions, counts = np.unique(np.append(firsts, 0), return_counts=True)
    counts[0] -= 1  # the appended 0
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

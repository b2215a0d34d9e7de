"""Which tokens were tried at each position of a prompt, and what they gave: for whoever looks on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distprompt_tui.search.protocol import PositionCandidates

MOST_EACH = 8
"""Candidates that are kept for a position."""

MOST_IN_ALL = 512
"""Of a prompt so long that these do not go round, each position keeps its best one."""


@dataclass(frozen=True)
class _Kept:
    """What was tried at a position, and the other tokens that stood around it."""

    rest: tuple[int, ...]
    tried: PositionCandidates


class CandidateLog:
    """The best candidates of each position.

    Divergences can be compared while the other positions stay as they are, whatever stands at this one. Candidates of
    another surrounding take the place of those before.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def note(self, ids: Tensor, kl: float, step: int, prompts: Tensor, kls: Tensor, exact: Tensor) -> None:
        """Take in what a step measured; prompts that differ at several positions tell nothing of one.

        Args:
            ids: the prompt that they were made from, (n,); where it is of another length, the first of them.
            kl: its divergence, nats.
            step: the number of the step.
            prompts: (count, n).
            kls: their divergences, (count,) on the CPU.
            exact: which of these the model itself measured, (count,) bool on the CPU.
        """
        if not len(prompts):
            return
        prompts, ids = prompts.cpu(), ids.cpu()
        if prompts.shape[1] != len(ids):
            ids, kl = prompts[0], float(kls[0])
        differs = prompts != ids
        is_single, positions = differs.sum(1) == 1, differs.int().argmax(1)
        for position in positions[is_single].unique().tolist():
            rows = is_single & (positions == position)
            tokens = prompts[rows, position].tolist()
            found = dict(zip(tokens, zip(kls[rows].tolist(), exact[rows].tolist(), strict=True), strict=True))
            self._keep(position, ids.tolist(), kl, step, found)

    def at(self, position: int) -> PositionCandidates | None:
        """What was tried at a position, counted from 0; None where nothing was."""
        kept = self._kept.get(position)
        return None if kept is None else kept.tried

    def _keep(self, position: int, ids: list[int], kl: float, step: int, found: dict[int, tuple[float, bool]]) -> None:
        rest = (*ids[:position], *ids[position + 1 :])
        found[ids[position]] = kl, True
        before = self._kept.get(position)
        if before is not None and before.rest == rest:
            old = before.tried
            found = {token: (value, token not in old.draft_only) for token, value in old.tokens} | found
        most = min(MOST_EACH, max(MOST_IN_ALL // len(ids), 1))
        best = sorted(found.items(), key=lambda item: item[1][0])[:most]
        draft_only = frozenset(token for token, (_, is_exact) in best if not is_exact)
        self._kept[position] = _Kept(
            rest, PositionCandidates(step, kl, tuple((token, at) for token, (at, _) in best), draft_only)
        )

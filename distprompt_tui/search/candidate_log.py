"""Log of the tokens tried at each position of a prompt and their divergences, for display."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distprompt_tui.search.protocol import PositionCandidates

MOST_EACH = 8  # maximum number of candidates for a position

MOST_IN_ALL = 512  # maximum number for all positions, but at least one for each


@dataclass(frozen=True)
class _Kept:
    """Candidates of a position, and the prompt's tokens at the other positions."""

    rest: tuple[int, ...]
    tried: PositionCandidates


class CandidateLog:
    """The best candidates of each position.

    Divergences are comparable only for equal tokens at all other positions. Candidates for other tokens there replace
    the previous candidates.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def note(self, ids: Tensor, kl: float, step: int, prompts: Tensor, kls: Tensor, exact: Tensor) -> None:
        """Add the measurements of a step; prompts that differ at several positions are ignored.

        Args:
            ids: the prompt before the step, on the CPU; if its length is not n, `prompts[0]` is used instead.
            kl: its divergence, nats.
            step: number of the step.
            prompts: (count, n) on the CPU.
            kls: their divergences, (count,) on the CPU.
            exact: which of them the model itself measured, (count,) bool on the CPU.
        """
        if not len(prompts):
            return
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

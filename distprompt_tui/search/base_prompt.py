"""The prompt from which a search makes its candidates, with what was computed in its run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distprompt_tui.models.prefix_cache import PrefixCache


@dataclass(frozen=True)
class BasePrompt:
    """A prompt from which candidates are made.

    Attributes:
        ids: (n,) on the CPU.
        logits: (V,).
        divergence: nats, (), on the model's device.
        prefix_cache: None if prefixes are not shared.
        draft_prefix_cache: the draft model's prefix cache.
        gradient: of the objective with respect to the embeddings, (n, d); None if not requested.
        surprisal: the objective's fluency term by position and token, (n, V); None without a fluency weight.
    """

    ids: Tensor
    logits: Tensor
    divergence: Tensor
    prefix_cache: PrefixCache | None
    draft_prefix_cache: PrefixCache | None = None
    gradient: Tensor | None = None
    surprisal: Tensor | None = None

    @property
    def kl(self) -> float:
        """Divergence, nats. The host waits for the device."""
        return float(self.divergence)

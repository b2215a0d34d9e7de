"""What attention keeps of a prompt's beginning: with it, prompts that begin alike run only what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distprompt_tui.errors import ModelError


@dataclass(frozen=True)
class Past:
    """Keys and values of one input's positions, the fixed prefix included.

    Every position is kept, also where a layer looks at the nearest ones only: the model's own mask hides the others.
    So any beginning can be cut out, whatever the kinds of attention.

    Attributes:
        layers: keys and values of each layer, (1, heads, length, width) both.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """Positions that are kept."""
        return self.layers[0][0].shape[-2]

    def cropped(self, length: int) -> Past:
        """The first `length` positions only."""
        return Past(tuple((keys[..., :length, :], values[..., :length, :]) for keys, values in self.layers))

    def cache(self, batch: int) -> Any:
        """As a transformers cache that `batch` continuations may write into."""
        from transformers import DynamicCache

        return DynamicCache(
            [(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)) for keys, values in self.layers]
        )


def past_of(cache: Any, length: int) -> Past:
    """What a forward pass left in an empty `DynamicCache`.

    Raises:
        ModelError: it is not the keys and values of `length` positions in every layer.
    """
    layers = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not isinstance(keys, Tensor) or not isinstance(values, Tensor) or keys.shape[-2] != length:
            break
        layers.append((keys.detach(), values.detach()))
    if not layers or len(layers) < len(cache.layers):
        raise ModelError("its layers keep something else than keys and values of every position")
    return Past(tuple(layers))

"""What a model keeps of a prompt's beginning: with it, prompts that begin alike run only what differs."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from distprompt_tui.errors import ModelError


class Sharing(StrEnum):
    """How prompts continue a beginning."""

    KEYS = "keys and values"
    """One run keeps keys and values of every position; any beginning can be cut out of them."""
    STATES = "states"
    """Each beginning that is asked for is run, and the model's state behind it is kept; what follows is one call."""
    STEPS = "states, by steps"
    """The same, but what follows is one call for each position: some layers ignore their state in longer calls, others
    are slow in them."""


@dataclass(frozen=True)
class KeysAndValues:
    """Keys and values of one input's positions, the fixed prefix included.

    Every position is kept, also where a layer looks at the nearest ones only: the model's own mask hides the others.
    So any beginning can be cut out, whatever the kinds of attention.

    Attributes:
        layers: keys and values of each layer, (1, heads, length, width) both.
        size: bytes that are copied for each prompt that continues it: none.
        least: positions that must follow.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    size: int = 0
    least: int = 1

    def truncated(self, length: int) -> KeysAndValues:
        """The first `length` positions only."""
        return KeysAndValues(tuple((keys[..., :length, :], values[..., :length, :]) for keys, values in self.layers))

    def to_run(self, length: int) -> int:
        """Positions that `truncated` runs: none."""
        return 0

    def overhead(self, length: int, behind: int, call_cost: float) -> float:
        """What running prompts costs besides their own positions, in positions: one call.

        Args:
            length: of the beginning that they share.
            behind: positions that follow it.
            call_cost: of one call.
        """
        return call_cost

    def continued(self, backbone: nn.Module, inputs: Tensor) -> Tensor:
        """Run what follows, ids or embeddings (batch, n, ...) → states after the final norm, (batch, n, d)."""
        from transformers import DynamicCache

        batch = len(inputs)
        cache = DynamicCache(
            [(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)) for keys, values in self.layers]
        )
        return run_into(cache, backbone, inputs)


@dataclass(frozen=True)
class State:
    """The model's own cache behind a beginning. It can be continued, but not cut.

    Attributes:
        cache: of a class that the model chose. Recurrent and convolutional layers keep states of a fixed size,
            (1, ...); attention layers keep keys and values, (1, heads, length or window, width).
        length: positions of the beginning.
        by_steps: whether it is continued by one position at a time.
    """

    cache: Any
    length: int
    by_steps: bool

    @property
    def size(self) -> int:
        """Bytes that are copied for each prompt that continues it."""
        parts: dict[int, Any] = {}
        _copied(self.cache, lambda tensor: tensor, parts)
        return sum(part.nbytes for part in parts.values() if isinstance(part, Tensor))

    def continued(self, backbone: nn.Module, inputs: Tensor) -> Tensor:
        """Run what follows, ids or embeddings (batch, n, ...) → states after the final norm, (batch, n or 1, d)."""
        cache = _copied(self.cache, lambda tensor: _repeated(tensor, len(inputs)), {})  # it is written in place
        positions = torch.arange(self.length, self.length + inputs.shape[1], device=inputs.device).expand(
            len(inputs), -1
        )
        counted = "position_ids" in signature(backbone.forward).parameters  # some count from 0 where they are not told
        hidden = inputs
        for part in torch.arange(inputs.shape[1]).split(1 if self.by_steps else inputs.shape[1]):
            told = {"position_ids": positions[:, part]} if counted else {}
            hidden = run_into(cache, backbone, inputs[:, part], **told)
        return hidden


@dataclass(frozen=True)
class States:
    """The states behind beginnings of one input. Only the latest is kept: a search stays at a position for some calls.

    Attributes:
        backbone: the model's.
        inputs: the input, the fixed prefix included: embeddings, (1, length, d), or ids, (1, length).
        by_steps: whether states are continued by one position at a time.
    """

    backbone: nn.Module
    inputs: Tensor
    by_steps: bool
    _latest: dict[int, State] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """Positions that must follow. Layers that take several at once have another formula for a single one, which in
        some of them gives other numbers."""
        return 1 if self.by_steps else 2

    @torch.no_grad()
    def truncated(self, length: int) -> State:
        """The state behind the first `length` positions.

        Raises:
            ModelError: the model keeps none.
        """
        if length not in self._latest:
            output = self.backbone(**as_argument(self.inputs[:, :length]), use_cache=True)
            cache = getattr(output, _cache_argument(self.backbone), None)
            if cache is None:
                raise ModelError("it keeps nothing of a prompt")
            self._latest.clear()
            self._latest[length] = State(cache, length, self.by_steps)
        return self._latest[length]

    def to_run(self, length: int) -> int:
        """Positions that `truncated` runs: all, or none where their state is kept."""
        return 0 if length in self._latest else length

    def overhead(self, length: int, behind: int, call_cost: float) -> float:
        """What running prompts costs besides their own positions, in positions: the beginning's, and all calls.

        Args:
            length: of the beginning that they share.
            behind: positions that follow it.
            call_cost: of one call.
        """
        first = 0 if length in self._latest else length + call_cost
        return first + call_cost * (behind if self.by_steps else 1)


PrefixCache = KeysAndValues | States
"""What is kept of a whole prompt."""

Beginning = KeysAndValues | State
"""What is kept of a beginning that prompts share."""


def as_argument(inputs: Tensor) -> dict[str, Tensor]:
    """Embeddings, (batch, n, d), or ids, (batch, n), by the name under which a backbone takes them."""
    return {"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs}


def run_into(cache: Any, backbone: nn.Module, inputs: Tensor, **told: Tensor) -> Tensor:
    """Run a backbone behind what a transformers cache holds and into it.

    Args:
        cache: of the kind that the backbone takes.
        backbone: the model's.
        inputs: embeddings, (batch, n, d), or ids, (batch, n).
        told: what else it is given.

    Returns:
        States after the final norm, (batch, n, d).
    """
    given = {_cache_argument(backbone): cache} | told
    hidden: Tensor = backbone(**as_argument(inputs), use_cache=True, **given).last_hidden_state
    return hidden


def keys_and_values_of(cache: Any, length: int) -> KeysAndValues:
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
    return KeysAndValues(tuple(layers))


def _cache_argument(backbone: nn.Module) -> str:
    """What a backbone calls the cache that it is given, and gives; transformers has renamed it."""
    names = ("cache", "cache_params", "state")
    return next((name for name in names if name in signature(backbone.forward).parameters), "past_key_values")


def _copied(kept: Any, change: Callable[[Tensor], Tensor], done: dict[int, Any]) -> Any:
    """A copy of a cache, whatever its classes, with every tensor changed. What it holds twice is copied once.

    Args:
        kept: a cache, or part of one.
        change: of each tensor.
        done: copies so far, by the originals' ids.
    """
    if id(kept) in done:
        return done[id(kept)]
    new: Any = kept
    if isinstance(kept, Tensor):
        new = change(kept)
    elif isinstance(kept, list | tuple):
        new = type(kept)([_copied(value, change, done) for value in kept])
    elif isinstance(kept, dict):
        new = copy(kept)
        new.update({key: _copied(value, change, done) for key, value in kept.items()})
    elif type(kept).__module__.startswith("transformers."):
        new = copy(kept)
        vars(new).update(_copied(vars(kept), change, done))
    done[id(kept)] = new
    return new


def _repeated(tensor: Tensor, batch: int) -> Tensor:
    """A copy for a batch: the first dimension of size 1 is taken for that of prompts."""
    sizes = list(tensor.shape)
    if 1 in sizes:
        sizes[sizes.index(1)] = batch
    return tensor.expand(sizes).clone(memory_format=torch.contiguous_format)

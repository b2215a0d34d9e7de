"""Caches of a prompt's beginning: prompts with the same beginning run only the positions after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from distprompt_tui.core.errors import ModelError


class Sharing(StrEnum):
    """How prompts share the cache of a beginning."""

    KEYS = "keys and values"
    """One run caches keys and values of every position, which can be truncated to any length."""
    STATES = "states"
    """Each beginning runs once and its final state is cached; the positions after it run in one call."""
    STEPS = "states, by steps"
    """As STATES, but with one call per position: some layers ignore their state in longer calls or are slow in them."""


@dataclass(frozen=True)
class KeysAndValues:
    """Keys and values of all positions of one input, including the fixed prefix.

    Layers with sliding-window attention keep every position too, and the model's mask hides the others. So the cache
    can be truncated for every kind of attention.

    Attributes:
        layers: keys and values of each layer, (1, heads, length, width) both, or (batch, ...) for a
            batch.
        size: bytes copied for each prompt in a batch.
        least: minimum number of positions after the cache.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    size: int = 0
    least: int = 1

    def truncated(self, length: int) -> KeysAndValues:
        """Return the cache of the first `length` positions."""
        return KeysAndValues(tuple((keys[..., :length, :], values[..., :length, :]) for keys, values in self.layers))

    def of_row(self, row: int) -> KeysAndValues:
        """Return the cache of one input of a batch."""
        return KeysAndValues(tuple((keys[row : row + 1], values[row : row + 1]) for keys, values in self.layers))

    def to_run(self, length: int) -> int:
        """Return the number of positions that `truncated` runs."""
        return 0

    def overhead(self, length: int, behind: int, call_cost: float) -> float:
        """Return the cost of running prompts besides their own positions, in positions: one call.

        Args:
            length: of the shared beginning.
            behind: positions after it.
            call_cost: of one call.
        """
        return call_cost

    def continued(self, backbone: nn.Module, inputs: Tensor) -> Tensor:
        """Run the positions after the cache, ids or embeddings (batch, n, ...) → states, (batch, n, d)."""
        from transformers import DynamicCache

        batch = len(inputs)
        cache = DynamicCache(
            [(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)) for keys, values in self.layers]
        )
        return run_into(cache, backbone, inputs)


def keys_and_values_for_rows(caches: Sequence[KeysAndValues], rows: Sequence[int], length: int) -> KeysAndValues:
    """Combine the first `length` positions of several inputs' caches for a batch that continues them.

    Args:
        caches: one for each input.
        rows: number of successive rows of the batch that continue each input.
        length: positions of every input before the batch's own.
    """

    def combined(layer: int, part: int) -> Tensor:
        beginnings = (cache.layers[layer][part][..., :length, :] for cache in caches)
        return torch.cat([values.expand(count, -1, -1, -1) for values, count in zip(beginnings, rows, strict=True)])

    return KeysAndValues(tuple((combined(layer, 0), combined(layer, 1)) for layer in range(len(caches[0].layers))))


@dataclass(frozen=True)
class State:
    """The model's own cache after a beginning. It can be continued, but not truncated.

    Attributes:
        cache: of a class that depends on the model. Recurrent and convolutional layers keep states of a fixed size,
            (1, ...); attention layers keep keys and values, (1, heads, length or window, width).
        length: positions of the beginning.
        by_steps: whether each call runs one position only.
    """

    cache: Any
    length: int
    by_steps: bool

    @property
    def size(self) -> int:
        """Bytes copied for each prompt in a batch."""
        parts: dict[int, Any] = {}
        _copied(self.cache, lambda tensor: tensor, parts)
        return sum(part.nbytes for part in parts.values() if isinstance(part, Tensor))

    def continued(self, backbone: nn.Module, inputs: Tensor) -> Tensor:
        """Run the positions after the cache, ids or embeddings (batch, n, ...) → states, (batch, n or 1, d)."""
        cache = _copied(self.cache, lambda tensor: _repeated(tensor, len(inputs)), {})  # the model writes in place
        positions = torch.arange(self.length, self.length + inputs.shape[1], device=inputs.device).expand(
            len(inputs), -1
        )
        counted = "position_ids" in signature(backbone.forward).parameters  # some count from 0 by default
        hidden = inputs
        for part in torch.arange(inputs.shape[1]).split(1 if self.by_steps else inputs.shape[1]):
            extra_inputs = {"position_ids": positions[:, part]} if counted else {}
            hidden = run_into(cache, backbone, inputs[:, part], **extra_inputs)
        return hidden


@dataclass(frozen=True)
class States:
    """The states after beginnings of one input. Only the latest is cached: a search stays at a position for some calls.

    Attributes:
        backbone: the model's backbone.
        inputs: the input with the fixed prefix: embeddings, (1, length, d), or ids, (1, length).
        by_steps: whether each call runs one position only.
    """

    backbone: nn.Module
    inputs: Tensor
    by_steps: bool
    _latest: dict[int, State] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """Minimum number of positions after the cache: some layers give other results for a single one."""
        return 1 if self.by_steps else 2

    @torch.no_grad()
    def truncated(self, length: int) -> State:
        """Return the state after the first `length` positions.

        Raises:
            ModelError: the model returns no cache.
        """
        if length not in self._latest:
            output = self.backbone(**as_argument(self.inputs[:, :length]), use_cache=True)
            cache = getattr(output, _cache_argument(self.backbone), None)
            if cache is None:
                raise ModelError("it returns no cache")
            self._latest.clear()
            self._latest[length] = State(cache, length, self.by_steps)
        return self._latest[length]

    def to_run(self, length: int) -> int:
        """Return the number of positions that `truncated` runs: `length`, or 0 if the state is cached."""
        return 0 if length in self._latest else length

    def overhead(self, length: int, behind: int, call_cost: float) -> float:
        """As `KeysAndValues.overhead`, plus the beginning unless cached, with one call or one per position."""
        first = 0 if length in self._latest else length + call_cost
        return first + call_cost * (behind if self.by_steps else 1)


PrefixCache = KeysAndValues | States  # cache of a whole prompt

Beginning = KeysAndValues | State  # cache of a beginning shared by prompts


def as_argument(inputs: Tensor) -> dict[str, Tensor]:
    """Return embeddings, (batch, n, d), or ids, (batch, n), as the backbone's keyword argument."""
    return {"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs}


def run_into(cache: Any, backbone: nn.Module, inputs: Tensor, **extra_inputs: Tensor) -> Tensor:
    """Run a backbone with a transformers cache, which is extended in place.

    Args:
        cache: of the class that the backbone expects.
        backbone: the model's backbone.
        inputs: embeddings, (batch, n, d), or ids, (batch, n).
        extra_inputs: further arguments of the backbone.

    Returns:
        States after the final norm, (batch, n, d).
    """
    given = {_cache_argument(backbone): cache} | extra_inputs
    hidden: Tensor = backbone(**as_argument(inputs), use_cache=True, **given).last_hidden_state
    return hidden


def keys_and_values_of(cache: Any, length: int) -> KeysAndValues:
    """Convert a `DynamicCache` after one forward pass.

    Raises:
        ModelError: a layer does not hold keys and values of `length` positions.
    """
    layers = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not isinstance(keys, Tensor) or not isinstance(values, Tensor) or keys.shape[-2] != length:
            break
        layers.append((keys.detach(), values.detach()))
    if not layers or len(layers) < len(cache.layers):
        raise ModelError("not all of its layers cache keys and values of every position")
    return KeysAndValues(tuple(layers))


def _cache_argument(backbone: nn.Module) -> str:
    """Return the name of a backbone's cache argument and output, which depends on model and transformers version."""
    names = ("cache", "cache_params", "state")
    return next((name for name in names if name in signature(backbone.forward).parameters), "past_key_values")


def _copied(kept: Any, change: Callable[[Tensor], Tensor], done: dict[int, Any]) -> Any:
    """Copy a cache of any class, or part of one, and apply `change` to every tensor.

    `done` holds the copies by id of the original, so that shared objects stay shared.
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
    """Copy a tensor for a batch. The first dimension of size 1 is assumed to be the batch dimension."""
    sizes = list(tensor.shape)
    if 1 in sizes:
        sizes[sizes.index(1)] = batch
    return tensor.expand(sizes).clone(memory_format=torch.contiguous_format)

"""The output layer of a language model: last hidden state before the final norm → logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distprompt_tui.errors import ModelError, first_line

TOLERANCES = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}
"""How far two ways to the same numbers may be apart, as the root mean square of the difference over that of the
numbers. In float32 only the order of sums differs. In half precision the model rounds what it returns, by at most half
of the dtype's epsilon, and once more for each operation behind the output layer: the epsilon."""

_SCALES = ("logit_scale", "lm_head_multiplier")
"""Names in configs of what multiplies the logits: Cohere's, Falcon H1's."""

_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names in configs of the soft cap: Gemma's, RecurrentGemma's, xLSTM's."""

_SUSPECTS = ("multiplier", "scale", "scaling", "cap", "logit")
"""What is in the names of config fields that may change logits."""

MIN_GEMM_ROWS = 4
"""Fewer states than these go through the output layer together with zeros: on CPUs, MKL multiplies fewer by another
routine, and a prompt's last digits would depend on how many others are measured with it. That more do not matter is
tried out by `models.invariance`."""


@dataclass(frozen=True)
class FinalNorm:
    """The last normalisation, written as h = gain ⊙ u + bias with ‖u‖₂ ≤ √d (LayerNorm: also Σu = 0).

    Attributes:
        kind: "rms" divides by the root mean square; "layer" subtracts the mean first.
        gain: (d,); what multiplies u (Gemma's `1 + weight` is already added up here).
        bias: (d,) or None.
    """

    kind: Literal["rms", "layer"]
    gain: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Head:
    """logits = softcap(scale · (weight h + bias)), with softcap(x) = cap · tanh(x / cap) where a cap is set.

    Attributes:
        weight: (V, d), float32.
        bias: (V,) or None.
        norm: the final norm that hands h over; None where none was recognised.
        scale: multiplies the logits (Cohere: `logit_scale`; Granite: 1 / `logits_scaling`).
        softcap: the cap, or None. A capped head is not linear in h.
        allowed: (V,) bool; False marks rows that stand for no token. They get no mass on either side of a divergence.
    """

    weight: Tensor
    bias: Tensor | None
    norm: FinalNorm | None
    scale: float
    softcap: float | None
    allowed: Tensor

    @property
    def why_no_floor(self) -> str | None:
        """Why the divergence is not convex in u, in words; None where a floor can be certified."""
        if self.softcap is not None:
            return f"the logits are soft-capped at {self.softcap:g}, so the divergence is not convex in the last state"
        if self.norm is None:
            return "the final norm is of an unknown kind, so the last state is not known to be bounded"
        return None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of states after the final norm.

        Args:
            hidden: (batch, d), any floating dtype.

        Returns:
            (batch, V), float32; −inf on rows that stand for no token.
        """
        rows = hidden.shape[-2]
        missing = max(MIN_GEMM_ROWS - hidden.shape[:-1].numel(), 0)
        padded = nn.functional.pad(hidden.float(), (0, 0, 0, missing))
        logits = nn.functional.linear(padded, self.weight, self.bias)[..., :rows, :]
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.masked_fill_(~self.allowed, -torch.inf)


@dataclass(frozen=True)
class Parts:
    """A language model, taken apart.

    Attributes:
        backbone: ids or embeddings → `last_hidden_state`, after the final norm.
        head: that state → logits.
        hidden: the backbone's states after the ids that it was watched with, (batch, n, d).
    """

    backbone: nn.Module
    head: Head
    hidden: Tensor


@torch.no_grad()
def take_apart(model: nn.Module, allowed: Tensor, ids: Tensor) -> Parts:
    """Take a model's output layer off, and check that the parts give the model's own logits at every state.

    Body and final norm are found by watching a forward pass: the backbone is the outermost module that returns a
    `last_hidden_state`, the norm is the module whose output is that state. The norm's gain is found by trying which of
    the two common forms (`weight`, `1 + weight`) gives what it gave. So no list of model names is needed.

    Args:
        model: a transformers causal language model.
        allowed: (V,) bool.
        ids: any few prompts, (batch, n).

    Raises:
        ModelError: the parts do not add up to the model's logits, or the model does not run.
    """
    kind = type(model).__name__
    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    weight = getattr(output, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise ModelError(f"{kind} has no linear output layer of plain numbers, which all that is done here needs")
    backbone, hidden, norm, expected = _watched(model, ids)
    if hidden.shape[-1] != weight.shape[1]:
        raise ModelError(f"{kind} has more than an output layer behind its last state, which is not taken apart")
    if len(allowed) != len(weight) or expected.shape != (*hidden.shape[:2], len(weight)):
        raise ModelError(f"{kind} gives logits of the shape {tuple(expected.shape)}, not one a row of its output layer")
    config: Any = model.config
    config = config.get_text_config()
    bias = getattr(output, "bias", None)
    head = Head(
        weight=weight.detach().float(),
        bias=None if bias is None else bias.detach().float(),
        norm=norm,
        scale=_first_of(config, _SCALES) or 1 / (_first_of(config, ("logits_scaling",)) or 1),
        softcap=_first_of(config, _CAPS),
        allowed=allowed,
    )
    error = relative_difference(head.logits(hidden)[..., allowed], expected[..., allowed])
    if not error <= TOLERANCES.get(expected.dtype, TOLERANCES[torch.float32]):
        fields = sorted(
            name
            for name, value in config.to_dict().items()
            if isinstance(value, (int, float)) and any(part in name for part in _SUSPECTS)
        )
        raise ModelError(
            f"the output layer of {kind} is of an unknown kind: the logits that its parts give are off by "
            f"{error:.2g} of their size" + (f"; its config has {', '.join(fields)}" if fields else "")
        )
    return Parts(backbone, head, hidden)


def relative_difference(ours: Tensor, expected: Tensor) -> float:
    """The root mean square of a difference over that of what is expected."""
    expected = expected.float()
    return float((ours.float() - expected).norm() / expected.norm().clamp_min(1e-30))


def _first_of(config: Any, names: tuple[str, ...]) -> float | None:
    """The first of a config's fields that is there and not 0."""
    return next((float(value) for name in names if (value := getattr(config, name, None))), None)


def _watched(model: nn.Module, ids: Tensor) -> tuple[nn.Module, Tensor, FinalNorm | None, Tensor]:
    """Body, its last state (batch, n, d), the final norm where one is recognised, and the model's logits."""
    backbones: list[tuple[nn.Module, Tensor]] = []
    norms: list[tuple[nn.Module, Tensor, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        state = getattr(output, "last_hidden_state", None)
        if isinstance(state, Tensor) and state.shape[:2] == ids.shape:
            backbones.append((module, state))
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor) and "norm" in _kind(module):
            norms.append((module, inputs[0], output))

    hooks = [module.register_forward_hook(watch) for module in model.modules() if module is not model]
    try:
        logits: Tensor = model(ids, use_cache=False).logits
    except Exception as error:  # whatever a model's code does with a config that it was not made for
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(f"{type(model).__name__} does not run: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not backbones:
        raise ModelError(f"no part of {type(model).__name__} returns the last state that its logits are made of")
    backbone, hidden = backbones[-1]  # the outermost ends last
    for module, before, after in reversed(norms):
        if after.shape == hidden.shape and torch.equal(after, hidden):
            return backbone, hidden, _as_final_norm(module, before, after), logits
    return backbone, hidden, None, logits


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _as_final_norm(module: nn.Module, before: Tensor, after: Tensor) -> FinalNorm | None:
    """The norm in the form of `FinalNorm`, if one of the known forms explains what it did."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor):
        return None
    epsilon = next(
        (getattr(module, name) for name in ("eps", "variance_epsilon", "epsilon") if hasattr(module, name)), 0.0
    )
    offset = bias.float() if isinstance(bias, Tensor) else torch.zeros_like(weight, dtype=torch.float32)
    tolerance = TOLERANCES.get(after.dtype, TOLERANCES[torch.float32])
    before = before.float()
    centred = before - before.mean(-1, keepdim=True)
    kinds: tuple[tuple[Literal["rms", "layer"], Tensor], ...] = (("rms", before), ("layer", centred))
    for kind, vector in kinds:
        unit = vector * torch.rsqrt(vector.pow(2).mean(-1, keepdim=True) + epsilon)
        for gain in (weight.float(), 1 + weight.float()):
            if relative_difference(gain * unit + offset, after) <= tolerance:
                return FinalNorm(kind, gain.detach(), bias.detach().float() if isinstance(bias, Tensor) else None)
    return None

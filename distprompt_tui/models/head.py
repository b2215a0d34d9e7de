"""The output layer of a language model: last hidden state before the final norm → logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distprompt_tui.errors import ModelError

PROBE_IDS = (1, 2, 3, 5)
"""Any few tokens will do to see how the model gets from its last state to its logits."""

RELATIVE_TOLERANCE = 2e-2
"""How far our head's logits may be from the model's own: bfloat16 logits are exact to 0.4 %, float32 far better."""


FEWEST_ROWS = 4
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
        missing = max(FEWEST_ROWS - hidden.shape[:-1].numel(), 0)
        padded = nn.functional.pad(hidden.float(), (0, 0, 0, missing))
        logits = nn.functional.linear(padded, self.weight, self.bias)[..., :rows, :]
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.masked_fill_(~self.allowed, -torch.inf)


@torch.no_grad()
def read_head(model: nn.Module, body: nn.Module, allowed: Tensor) -> Head:
    """Take a model's output layer apart, and check that the parts give the model's own logits.

    The final norm is found by watching a forward pass: it is the module whose output is the last state. Its gain is
    found by trying which of the two common forms (`weight`, `1 + weight`) gives what it gave. So no list of model
    names is needed.

    Args:
        model: a transformers causal language model.
        body: the same without its head; its output is the state after the final norm.
        allowed: (V,) bool.

    Raises:
        ModelError: the parts do not add up to the model's logits.
    """
    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    if output is None or not isinstance(getattr(output, "weight", None), Tensor):
        raise ModelError(f"{type(model).__name__} has no linear output layer: it is no causal language model")
    config: Any = model.config
    config = config.get_text_config()
    bias = getattr(output, "bias", None)
    head = Head(
        weight=output.weight.detach().float(),
        bias=None if bias is None else bias.detach().float(),
        norm=None,
        scale=float(getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)),
        softcap=getattr(config, "final_logit_softcapping", None),
        allowed=allowed,
    )
    ids = torch.tensor([PROBE_IDS], device=output.weight.device)
    hidden, norm = _last_state_and_norm(body, ids)
    expected = model(ids, use_cache=False).logits[0, -1].float()
    error = (head.logits(hidden[0, -1:])[0] - expected)[allowed].abs().max()
    if error > RELATIVE_TOLERANCE * expected[allowed].abs().max():
        raise ModelError(
            f"the output layer of {type(model).__name__} is of an unknown kind: "
            f"the logits that its parts give are off by {error:.3g}"
        )
    return Head(head.weight, head.bias, norm, head.scale, head.softcap, allowed)


def _last_state_and_norm(body: nn.Module, ids: Tensor) -> tuple[Tensor, FinalNorm | None]:
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
            seen.append((module, inputs[0], output))

    watched = [module for module in body.modules() if "norm" in type(module).__name__.lower()]
    hooks = [module.register_forward_hook(watch) for module in watched]
    try:
        hidden: Tensor = body(ids, use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    for module, before, after in reversed(seen):
        if after.shape == hidden.shape and torch.equal(after, hidden):
            return hidden, _as_final_norm(module, before.float(), after.float())
    return hidden, None


def _as_final_norm(module: nn.Module, before: Tensor, after: Tensor) -> FinalNorm | None:
    """The norm in the form of `FinalNorm`, if one of the known forms explains what it did."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor):
        return None
    epsilon = next(
        (getattr(module, name) for name in ("eps", "variance_epsilon", "epsilon") if hasattr(module, name)), 0.0
    )
    offset = bias.float() if isinstance(bias, Tensor) else torch.zeros_like(weight, dtype=torch.float32)
    centred = before - before.mean(-1, keepdim=True)
    kinds: tuple[tuple[Literal["rms", "layer"], Tensor], ...] = (("rms", before), ("layer", centred))
    for kind, vector in kinds:
        unit = vector * torch.rsqrt(vector.pow(2).mean(-1, keepdim=True) + epsilon)
        for gain in (weight.float(), 1 + weight.float()):
            if torch.allclose(
                gain * unit + offset, after, rtol=RELATIVE_TOLERANCE, atol=1e-3 * float(after.abs().max())
            ):
                return FinalNorm(kind, gain.detach(), bias.detach().float() if isinstance(bias, Tensor) else None)
    return None

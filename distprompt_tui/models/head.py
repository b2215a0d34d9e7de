"""The output layer of a language model: last hidden state → logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distprompt_tui.core.errors import ModelError, first_line
from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.large_matrix import float32_product, float32_rows, held

TOLERANCES = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}
"""Largest relative difference (RMS of the difference over RMS of the values) between two computations of the same
tensor, by dtype. In float32 only the order of summation differs. In half precision the model rounds its output by up to
half an epsilon, and again after each operation behind the output layer."""

FACTOR_TOLERANCES = {torch.float32: 1e-5, torch.float16: 2**-13, torch.bfloat16: 2**-10}
"""Largest deviation from 1 of the factor between two computations of the same tensor, by dtype. Rounding errors average
out in the factor, so it distinguishes a wrong gain or multiplier from rounding. It is an eighth of the dtype's epsilon
in half precision."""

NORM_TOLERANCE = 1e-5  # largest relative error of an entry of the normalised state by its float32 sums

_SCALES = ("logit_scale", "lm_head_multiplier")  # config fields with a factor of the logits (Cohere, Falcon H1)

_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
"""Config fields with a divisor of the logits, or of the state in front of a layer without bias (Granite, Inkling)."""

_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Config fields with the soft cap (Gemma, RecurrentGemma, xLSTM)."""

_SUSPECTS = ("multiplier", "scale", "scaling", "cap", "logit")
"""Parts of the names of config fields that may affect logits, for error messages."""

MIN_GEMM_ROWS = 4
"""Smaller batches are padded with zero states. On CPUs, MKL multiplies fewer rows by another routine, so that the last
digits of a result would depend on the batch size. `models.batch_invariance` tests larger batches."""


@dataclass(frozen=True)
class FinalNorm:
    """The last normalisation, written as h = gain ⊙ u + bias with ‖u‖₂ ≤ √d (LayerNorm: also Σu = 0).

    Attributes:
        kind: "rms" divides by the root mean square; "layer" subtracts the mean first.
        gain: (d,), factor of u; for Gemma, this is 1 + weight.
        bias: (d,) or None.
        dtype: of the norm's output; gain and bias are exact in it, or computed in float32.
    """

    kind: Literal["rms", "layer"]
    gain: Tensor
    bias: Tensor | None = None
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Head:
    """logits = softcap(scale · (weight h + bias)), with softcap(x) = cap · tanh(x / cap) where a cap is set.

    Attributes:
        weight: (V, d), as `large_matrix.held`.
        bias: (V,) or None.
        norm: the final norm that produces h; None if its kind is unknown.
        scale: factor of the logits (Cohere: `logit_scale`; Granite: 1 / `logits_scaling`).
        softcap: the cap, or None. A capped head is not linear in h.
        allowed: (V,) bool, False for rows without a token. They have no probability on either side of a divergence.
    """

    weight: Tensor
    bias: Tensor | None
    norm: FinalNorm | None
    scale: float
    softcap: float | None
    allowed: Tensor

    @property
    def why_no_floor(self) -> str | None:
        """Reason why no floor can be certified; None if one can."""
        if self.softcap is not None:
            return f"the logits are soft-capped at {self.softcap:g}, so the divergence is not convex in the last state"
        if self.norm is None:
            return "the kind of the final norm is unknown, so the last state may be unbounded"
        return None

    def to(self, device: torch.device) -> Head:
        """Return the head with all tensors on a device."""

        def moved(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device)

        norm = self.norm and replace(self.norm, gain=self.norm.gain.to(device), bias=moved(self.norm.bias))
        weight, allowed = self.weight.to(device), self.allowed.to(device)
        return replace(self, weight=weight, bias=moved(self.bias), norm=norm, allowed=allowed)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits from states after the final norm.

        Args:
            hidden: (batch, d), any floating dtype.

        Returns:
            (batch, V), float32; −inf on rows without a token.
        """
        rows = hidden.shape[-2]
        missing = max(MIN_GEMM_ROWS - hidden.shape[:-1].numel(), 0)
        if self.weight.dtype == torch.float32:
            padded = nn.functional.pad(hidden.to(self.weight.device).float(), (0, 0, 0, missing))
            logits = nn.functional.linear(padded, self.weight, self.bias)[..., :rows, :]
        else:
            padded = nn.functional.pad(hidden.to(self.weight.device), (0, 0, 0, missing))
            logits = float32_product(padded, self.weight)[..., :rows, :]
            if self.bias is not None:
                logits = logits + self.bias
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.masked_fill_(~self.allowed, -torch.inf)


@dataclass(frozen=True)
class Parts:
    """Backbone and head of a language model.

    Attributes:
        backbone: ids or embeddings → `last_hidden_state`, after the final norm.
        head: last state → logits.
        hidden: the backbone's states for the ids given to `take_apart`, (batch, n, d).
    """

    backbone: nn.Module
    head: Head
    hidden: Tensor


@torch.no_grad()
def take_apart(model: nn.Module, allowed: Tensor, ids: Tensor) -> Parts:
    """Split a model into backbone and head, and check that the two reproduce the model's logits at every position.

    Hooks on one forward pass find backbone and final norm: the backbone is the outermost module that returns a
    `last_hidden_state`, the norm is the module whose output is that state. The gain is the one of the two common forms
    (`weight`, `1 + weight`) that reproduces the norm's output. So no list of model names is needed.

    Args:
        model: a transformers causal language model.
        allowed: (V,) bool.
        ids: a few arbitrary prompts, (batch, n).

    Raises:
        ModelError: the parts do not reproduce the model's logits, or the model does not run.
    """
    kind = type(model).__name__
    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    weight = getattr(output, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise ModelError(f"{kind} has no linear output layer with floating-point weights, which is required")
    backbone, hidden, norm, expected = _watched(model, ids)
    of_tokens, expected = allowed.cpu(), expected.cpu()  # the comparison needs no memory of the device
    if hidden.shape[-1] != weight.shape[1]:
        raise ModelError(f"{kind} has more than one linear layer behind its last state, which is not supported")
    if len(allowed) != len(weight) or expected.shape != (*hidden.shape[:2], len(weight)):
        raise ModelError(f"{kind} gives logits of shape {tuple(expected.shape)}, which does not match its output layer")
    expected = expected[..., of_tokens]
    if not expected.isfinite().all():
        dtype = str(expected.dtype).removeprefix("torch.")
        raise ModelError(
            f"{kind} gives NaN or infinite logits: its weights are damaged, or its states exceed the range of {dtype}"
        )
    config: Any = model.config
    config = config.get_text_config()
    bias = getattr(output, "bias", None)
    head = Head(
        weight=_finite_padding(held(weight), allowed),
        bias=None if bias is None else _finite_padding(bias.detach().float(), allowed),
        norm=norm,
        scale=_first_of(config, _SCALES) or 1 / (_first_of(config, _DIVISORS) or 1),
        softcap=_first_of(config, _CAPS),
        allowed=allowed,
    )
    ours = head.logits(hidden).cpu()[..., of_tokens]
    error = max(relative_difference(ours, expected), factor_difference(ours, expected))
    if not is_same(ours, expected):
        fields = sorted(
            name
            for name, value in config.to_dict().items()
            if isinstance(value, (int, float)) and any(part in name for part in _SUSPECTS)
        )
        raise ModelError(
            f"the output layer of {kind} is of an unknown kind: recomputed logits have a relative error of {error:.2g}"
            + (f"; its config has {', '.join(fields)}" if fields else "")
        )
    return Parts(backbone, head, hidden)


def _finite_padding(rows: Tensor, allowed: Tensor) -> Tensor:
    """Set the rows without a token to 0 if they are not finite. Their logits are masked, but 0 · NaN is NaN.

    Args:
        rows: (V, ...).
        allowed: (V,) bool.
    """
    padding = (~allowed).nonzero().flatten()
    if all(part.isfinite().all() for _, part in float32_rows(rows.view(len(rows), -1), padding)):
        return rows
    return rows.index_fill(0, padding, 0.0)


def relative_difference(ours: Tensor, expected: Tensor) -> float:
    """Return the RMS of `ours` − `expected` over that of `expected`."""
    expected = expected.float()
    return float((ours.float() - expected).norm() / expected.norm().clamp_min(1e-30))


def factor_difference(ours: Tensor, expected: Tensor) -> float:
    """Return the deviation from 1 of the factor c that minimises ‖c · ours − expected‖; 0 if `ours` is zero."""
    ours, expected = ours.cpu().double(), expected.cpu().double()  # some devices lack float64
    if not ours.any():
        return 0.0
    return abs(float((ours * expected).sum() / (ours * ours).sum()) - 1)


def is_same(ours: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding in the dtype of `expected`."""
    dtype = expected.dtype if expected.dtype in TOLERANCES else torch.float32
    return (
        relative_difference(ours, expected) <= TOLERANCES[dtype]
        and factor_difference(ours, expected) <= FACTOR_TOLERANCES[dtype]
    )


def _first_of(config: Any, names: tuple[str, ...]) -> float | None:
    """Return the first of the config's fields that exists and is not 0."""
    return next((float(value) for name in names if (value := getattr(config, name, None))), None)


def _watched(model: nn.Module, ids: Tensor) -> tuple[nn.Module, Tensor, FinalNorm | None, Tensor]:
    """Return backbone, its last state (batch, n, d), the final norm if its kind is known, and the model's logits."""
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
    except Exception as error:  # model code may raise anything on an unexpected config
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{type(model).__name__} does not run: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not backbones:
        raise ModelError(f"no module of {type(model).__name__} returns a last hidden state")
    backbone, hidden = backbones[-1]  # the outermost module finishes last
    for module, before, after in reversed(norms):
        if after.shape == hidden.shape and torch.equal(after, hidden.to(after.device)):
            return backbone, hidden, _as_final_norm(module, before, after), logits
    return backbone, hidden, None, logits


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _as_final_norm(module: nn.Module, before: Tensor, after: Tensor) -> FinalNorm | None:
    """Return the norm as a `FinalNorm` if a known form reproduces its output, else None."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor):
        return None
    epsilon = next(
        (getattr(module, name) for name in ("eps", "variance_epsilon", "epsilon") if hasattr(module, name)), 0.0
    )
    offset = bias.float() if isinstance(bias, Tensor) else torch.zeros_like(weight, dtype=torch.float32)
    before = before.float()
    centred = before - before.mean(-1, keepdim=True)
    kinds: tuple[tuple[Literal["rms", "layer"], Tensor], ...] = (("rms", before), ("layer", centred))
    for kind, vector in kinds:
        unit = vector * torch.rsqrt(vector.pow(2).mean(-1, keepdim=True) + epsilon)
        for gain in (weight.float(), 1 + weight.float()):
            if _is_norm_output(gain, unit, offset, after):
                own_bias = bias.detach().float() if isinstance(bias, Tensor) else None
                return FinalNorm(kind, gain.detach(), own_bias, after.dtype)
    return None


def _is_norm_output(gain: Tensor, unit: Tensor, bias: Tensor, after: Tensor) -> bool:
    """Return whether gain ⊙ unit + bias is a norm's output up to rounding, each entry and the common factor.

    An entry is rounded before and after the gain and with the bias (`bounds.rounding`).
    """
    own = torch.finfo(after.dtype)
    scaled = gain * unit
    rounding = (1 + own.eps / 2) ** 3 - 1 + NORM_TOLERANCE
    underflow = own.tiny * own.eps * (gain.abs() + 2)
    allowed = rounding * (scaled.abs() + bias.abs()) + NORM_TOLERANCE * gain.abs() + underflow
    ours = scaled + bias
    return bool(((after.float() - ours).abs() <= allowed).all()) and is_same(ours, after)

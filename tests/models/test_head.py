"""Tests that final norms and multipliers of logits are recognised up to rounding, and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.head import _as_final_norm, factor_difference
from distprompt_tui.models.wrap import load_language_model
from tests.tiny_models import ARCHITECTURES


class Norm(nn.Module):
    """An RMSNorm whose output has another factor than its weight says, for all entries or for the first one."""

    def __init__(self, dtype: torch.dtype, factor: float, first: float = 1.0) -> None:
        super().__init__()
        self.eps, self.factor, self.first = 1e-6, factor, first
        weight = 1 + 0.3 * torch.randn(64, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight.to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        u = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        factors = torch.full((64,), self.factor)
        factors[0] *= self.first
        return (self.weight.float() * factors * u).to(x.dtype)


def states(dtype: torch.dtype) -> Tensor:
    return torch.randn(4, 8, 64, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float32, 1e-4), (torch.float16, 5e-4), (torch.bfloat16, 4e-3), (torch.bfloat16, -4e-3)]
)
def test_a_norm_with_another_factor_is_unknown(dtype: torch.dtype, off: float) -> None:
    x = states(dtype)
    norm, other = Norm(dtype, 1.0), Norm(dtype, 1 + off)
    found = _as_final_norm(norm, x, norm(x))
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found.gain, norm.weight.float())
    assert _as_final_norm(other, x, other(x)) is None


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_a_norm_with_one_other_entry_is_unknown(dtype: torch.dtype, off: float) -> None:
    x = states(dtype)
    other = Norm(dtype, 1.0, 1 + off)
    assert _as_final_norm(other, x, other(x)) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_final_norms_are_recognised_in_every_dtype(
    architecture: str, dtype: str, tiny_folders: dict[str, Path]
) -> None:
    head = load_language_model(architecture, tiny_folders[architecture], "cpu", dtype).head
    assert head.norm is not None
    assert head.norm.dtype == getattr(torch, dtype)


def test_a_small_factor_that_the_model_ignores_is_noticed_in_bfloat16(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    for file in tiny_folders["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"logit_scale": 1.004}))
    with pytest.raises(ModelError, match=r"LlamaForCausalLM is of an unknown kind.* logit_scale"):
        load_language_model("tiny", tmp_path, "cpu", "bfloat16")


def test_rounding_does_not_change_the_factor() -> None:
    exact = torch.randn(32, 400, generator=torch.Generator().manual_seed(2))
    assert factor_difference(exact, exact.bfloat16()) < 1e-4
    assert factor_difference(exact, 1.01 * exact) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("part", ["lm_head", "model.norm", ""])
def test_weights_of_zero_are_no_unknown_output_layer(part: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "zero"
    shutil.copytree(tiny_folders["llama"], folder)
    weights = load_file(folder / "model.safetensors")
    zero = {name: torch.zeros_like(weight) if part in name else weight for name, weight in weights.items()}
    save_file(zero, folder / "model.safetensors", {"format": "pt"})
    model = load_language_model("zero", folder, "cpu")
    assert not model.next_token_logits(torch.tensor([[5, 6, 7]])).any()

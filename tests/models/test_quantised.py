"""Models with packed weights: dtypes come from what the layers compute, not from what they store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.models.wrap import from_hf, load_language_model

PACKED = 2  # values in a byte


class PackedEmbedding(nn.Module):
    """An embedding of four bits a value: `weight` holds bytes, (rows · d / 2, 1), as that of bitsandbytes does."""

    def __init__(self, layer: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__()
        self.num_embeddings, self._width, self._dtype = layer.num_embeddings, layer.embedding_dim, dtype
        self._step = float(layer.weight.abs().max()) / 7
        levels = ((layer.weight / self._step).round() + 8).to(torch.uint8).view(-1, PACKED)
        self.weight = nn.Parameter((levels[:, :1] * 16 + levels[:, 1:]), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        levels = torch.cat([self.weight // 16, self.weight % 16], dim=1).view(self.num_embeddings, self._width)
        return ((levels[ids].float() - 8) * self._step).to(self._dtype)


class PackedLinear(nn.Module):
    """A linear layer of eight bits a value with a scale."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._scale = float(layer.weight.detach().abs().max()) / 127
        self.weight = nn.Parameter((layer.weight.detach() / self._scale).round().to(torch.int8), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, (self.weight * self._scale).to(states.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_dtype_of_embeddings_is_not_that_of_packed_weights(
    dtype: torch.dtype, tiny_folders: dict[str, Path]
) -> None:
    folder = tiny_folders["llama"]
    model: Any = load_causal_model("it fails", folder, dtype)
    model.model.embed_tokens = PackedEmbedding(model.model.embed_tokens, dtype)
    for layer in model.model.layers:
        layer.mlp.down_proj = PackedLinear(layer.mlp.down_proj)
    vocabulary = load_callable_vocabulary(folder, len(model.lm_head.weight))
    found = from_hf("packed", model.requires_grad_(False), vocabulary)
    assert found.dtype == dtype
    assert found.why_ids_only is None
    ids = torch.tensor([[5, 6, 7]])
    assert found.embedding(ids).dtype == torch.float32
    torch.testing.assert_close(found.embedding(ids), model.model.embed_tokens(ids).float())
    expected = model(ids).logits[:, -1].float()
    tolerance = 5e-2 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(
        found.next_token_logits(ids)[:, found.head.allowed],
        expected[:, found.head.allowed],
        rtol=tolerance,
        atol=tolerance,
    )


CONFIGS: dict[str, dict[str, Any]] = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "optimum": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True},
    "compressed-tensors": {"quant_method": "compressed-tensors", "config_groups": {}, "format": "float-quantized"},
}
"""Quantisation configs by a package that loads them."""

AVAILABLE = {
    "bitsandbytes": "quantizer_bnb_4bit.is_bitsandbytes_available",
    "optimum": "quantizer_gptq.is_optimum_available",
    "compressed-tensors": "quantizer_compressed_tensors.is_compressed_tensors_available",
}
"""The function of transformers that tells whether a package is installed: the tests are the same where one is."""


@pytest.mark.parametrize("package", CONFIGS)
def test_a_missing_package_is_named_in_one_line(
    package: str, tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"transformers.quantizers.{AVAILABLE[package]}", lambda: False)
    for file in tiny_folders["llama"].iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = tmp_path / "config.json"
    fields = json.loads(config.read_text()) | {"quantization_config": CONFIGS[package]}
    config.unlink()
    config.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=rf"^quantised cannot be loaded from .*pip install.*{package}") as caught:
        load_language_model("quantised", tmp_path, "cpu")
    assert "\n" not in str(caught.value)

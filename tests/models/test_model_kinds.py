"""Tests of model types with unusual inputs or heads: each matches transformers, or gives a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models import batch_invariance
from distprompt_tui.models.batch_invariance import is_batch_invariant
from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.checkpoint_checks import head_rows
from distprompt_tui.models.head import TOLERANCES, relative_difference
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.search import make_search
from tests.tiny_models import TOKENS, byte_level_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
}
PER_LAYER = {"vocab_size_per_layer_input": TOKENS, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
DECODER = {
    "vocab_size": TOKENS,
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "init_std": 0.2,
}
KINDS: dict[str, dict[str, Any]] = {
    "gemma3n_text": SIZES
    | PER_LAYER
    | {"altup_num_inputs": 2, "laurel_rank": 8, "activation_sparsity_pattern": [0.0, 0.0]},
    "gemma4_text": SIZES | PER_LAYER | {"global_head_dim": 8},
    "llama4_text": SIZES | {"num_local_experts": 4, "intermediate_size_mlp": 64},
    "moshi": SIZES | {"ffn_dim": 64},
    "trocr": DECODER,
    "bart": DECODER | {"encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64},
    "ctrl": {"vocab_size": TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 64, "initializer_range": 0.2},
    "recurrent_gemma": SIZES | {"lru_width": 32, "block_types": ["recurrent", "attention"], "logits_soft_cap": 2.0},
    "falcon_h1": SIZES
    | {"lm_head_multiplier": 0.3, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
    "cohere": SIZES | {"logit_scale": 0.3},
    "inkling_text": SIZES | {"logits_mup_width_multiplier": 4.0, "unpadded_vocab_size": None},
    "openai-gpt": {"vocab_size": TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "reformer": SIZES
    | {"attention_head_size": 8, "feed_forward_size": 64, "attn_layers": ["local", "local"]}
    | {"axial_pos_embds": False, "max_position_embeddings": 64, "is_decoder": True},
    "roberta": SIZES | {"is_decoder": True},
}
REFUSED = {"roberta": "the output layer of RobertaForCausalLM is of an unknown kind"}
IDS_ONLY = ("gemma3n_text", "gemma4_text")
WITHOUT_GRADIENTS = ("reformer",)


def write_kind(kind: str, folder: Path, **changes: Any) -> Path:
    """A random model of a kind with a trained tokenizer."""
    torch.manual_seed(0)
    control = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**KINDS[kind] | control | changes))
    model = model.float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and not name.endswith(("A_log", "dt_bias", "recurrent_param")):
                parameter.add_(0.3 * torch.randn_like(parameter))  # also parameters initialised to 0
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind."""
    root = tmp_path_factory.mktemp("kinds")
    return {kind: write_kind(kind, root / kind) for kind in KINDS}


def plain_logits(folder: Path, **inputs: torch.Tensor) -> torch.Tensor:
    """Compute next-token logits with transformers alone, (batch, V)."""
    logits: torch.Tensor = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(**inputs, use_cache=False).logits
    )
    return logits[:, -1]


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in REFUSED])
def test_ids_and_embeddings_match_transformers(kind: str, folders: dict[str, Path]) -> None:
    model = load_language_model(kind, folders[kind], "cpu")
    assert model.vocab_size == head_rows(folders[kind]) == TOKENS
    ids = torch.tensor([[10, 301, 22, 47, 53], [399, 7, 7, 80, 5]])
    expected = plain_logits(folders[kind], input_ids=ids)
    assert relative_difference(model.next_token_logits(ids), expected) < TOLERANCES[torch.float32]
    assert (model.why_ids_only is not None) == (kind in IDS_ONLY)
    assert token_features(model).isfinite().all()
    vectors = torch.randn(2, 5, model.hidden_size, generator=torch.Generator().manual_seed(1))
    if kind in IDS_ONLY:
        with pytest.raises(ModelError, match=rf"a soft prompt needs input embeddings, which {kind} does not accept"):
            model.next_token_logits(vectors)
        return
    kept = vectors.clone()
    ours = model.next_token_logits(vectors)
    assert torch.equal(vectors, kept)  # CTRL scales its input in place
    assert relative_difference(ours, plain_logits(folders[kind], inputs_embeds=vectors)) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("kind", REFUSED)
def test_unknown_output_layers_are_rejected(kind: str, folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=REFUSED[kind]):
        load_language_model(kind, folders[kind], "cpu")


@pytest.mark.parametrize("method", ["soft", "gcg", "hotflip", "hard", "random", "exhaustive"])
def test_methods_that_need_embeddings_are_rejected_for_ids_only_models(method: str, folders: dict[str, Path]) -> None:
    model = load_language_model("tiny", folders["gemma3n_text"], "cpu")
    spec = RunSpec.model_validate(
        {"target": {"family": "uniform"}, "search": {"method": method, "length": 2}, "budget": {"steps": 1}}
    )
    target = torch.full((TOKENS,), 1 / TOKENS, dtype=torch.float64)
    if method in ("soft", "gcg", "hotflip"):
        with pytest.raises(ModelError, match=f"'{method}' needs input embeddings, which tiny does not accept"):
            make_search(model, target, spec, lambda text: None)
    else:
        search = make_search(model, target, spec, lambda text: None)
        assert next(search.steps()).index == 0


def test_layers_with_different_attention_heads_are_tested_for_batch_invariance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For such models, transformers raises an error if the width of the heads is read from the whole config."""
    model = load_language_model(
        "tiny", write_kind("gemma4_text", tmp_path, hidden_size_per_layer_input=0, global_head_dim=16), "cpu"
    )
    tested = set()

    def attention(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tested.add((states.shape[1], states.shape[3]))
        return states, states

    monkeypatch.setattr(batch_invariance, "_attention_and_gradient", attention)
    for part in ("_are_rows_alike", "_are_logits_alike"):
        monkeypatch.setattr(batch_invariance, part, lambda *_: True)
    assert is_batch_invariant(model, 5)
    assert tested == {(4, 8), (4, 16)}


def test_states_wider_than_the_embeddings_are_tested_for_batch_invariance(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reformer concatenates the two streams of its reversible layers."""
    model = load_language_model("tiny", folders["reformer"], "cpu")
    assert (model.hidden_size, model.head.weight.shape[1]) == (32, 64)
    monkeypatch.setattr(batch_invariance, "_are_rows_alike", lambda *_: True)
    monkeypatch.setattr(batch_invariance, "_is_attention_alike", lambda *_: True)
    assert is_batch_invariant(model, 5) == batch_invariance._are_logits_alike(model)


@pytest.mark.parametrize("method", ["soft", "gcg", "hotflip"])
def test_models_without_a_backward_pass_are_rejected_by_methods_that_need_it(
    method: str, folders: dict[str, Path]
) -> None:
    model = load_language_model("tiny", folders["reformer"], "cpu")
    spec = RunSpec.model_validate(
        {"target": {"family": "uniform"}, "search": {"method": method, "length": 2}, "budget": {"steps": 1}}
    )
    target = torch.full((TOKENS,), 1 / TOKENS, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"tiny gives no gradients .*: use the method 'hard'"):
        for _ in make_search(model, target, spec, lambda text: None).steps():
            pass


@torch.no_grad()
def test_a_recurrent_model_can_be_copied_after_a_run_with_gradients(folders: dict[str, Path]) -> None:
    model = load_language_model("tiny", folders["recurrent_gemma"], "cpu")
    with torch.enable_grad():
        model.next_token_logits(torch.randn(1, 3, 32, requires_grad=True)).max().backward()
    assert in_half_precision(model).dtype == torch.bfloat16


@pytest.mark.parametrize("multiplier", ["lm_head_multiplier", "logit_scale", "logits_scaling", "logits_soft_cap"])
def test_a_config_field_that_the_model_ignores_is_named(
    multiplier: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Llama ignores these factors, and a relative error of 0.001 is not rounding."""
    for file in tiny_folders["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {multiplier: 1.001}))
    with pytest.raises(ModelError, match=f"LlamaForCausalLM is of an unknown kind.* {multiplier}"):
        load_language_model("tiny", tmp_path, "cpu")


def drop(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the config without a field."""
    return {key: value for key, value in config.items() if key != name}


@pytest.mark.parametrize("nested", [False, True])
def test_head_rows_come_from_the_weights_if_the_config_lacks_them(
    nested: bool, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    for file in tiny_folders["gemma3"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = drop(json.loads((tmp_path / "config.json").read_text()), "vocab_size")
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config} if nested else config))
    assert head_rows(tmp_path) == TOKENS
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read: ") as told:
        head_rows(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("length", [-1, 0])
def test_a_config_without_a_limit_gives_a_large_one(length: int) -> None:
    from distprompt_tui.models.wrap import max_length_of

    config = CONFIG_MAPPING["llama"]()
    config.max_position_embeddings = length
    assert max_length_of(config) == 1 << 20


def test_running_dtype_ignores_quantised_storage(
    tiny_models: dict[str, LanguageModel],
) -> None:
    from distprompt_tui.models.language_model import running_dtype

    packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    eight_bits = torch.nn.Parameter(torch.zeros(4).to(torch.float8_e4m3fn), requires_grad=False)
    backbone = torch.nn.ParameterList([packed, eight_bits, torch.nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))])
    assert running_dtype(backbone) == torch.bfloat16
    assert running_dtype(tiny_models["llama"].backbone) == torch.float32

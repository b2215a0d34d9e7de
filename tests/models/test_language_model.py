"""Tests of the model wrapper against transformers, for every architecture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models import language_model
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.search.initialization import random_ids
from tests.tiny_models import ARCHITECTURES


@pytest.fixture(params=ARCHITECTURES)
def pair(
    request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel], tiny_folders: dict[str, Path]
) -> tuple[LanguageModel, torch.nn.Module]:
    """The wrapped model, and transformers' model of the same folder in float64."""
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders[request.param], dtype=torch.float64)
    return tiny_models[request.param], plain.eval()


@torch.no_grad()
def test_logits_are_those_of_transformers_in_float64(
    pair: tuple[LanguageModel, torch.nn.Module], generator: torch.Generator
) -> None:
    model, plain = pair
    ids = random_ids(model, (3, 7), generator)
    ours = model.next_token_logits(ids)
    expected = plain(ids).logits[:, -1]
    allowed = model.head.allowed
    torch.testing.assert_close(ours[:, allowed].double(), expected[:, allowed], rtol=1e-4, atol=1e-4)
    assert (ours[:, ~allowed] == -torch.inf).all()


@torch.no_grad()
def test_embeddings_and_ids_give_the_same_logits(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    ids = random_ids(tiny_model, (2, 5), generator)
    torch.testing.assert_close(
        tiny_model.next_token_logits(tiny_model.embedding(ids)), tiny_model.next_token_logits(ids)
    )


@torch.no_grad()
def test_context_surrounds_the_prompt(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    ids = random_ids(tiny_model, (2, 3), generator)
    inside = tiny_model.in_context("The quick", " dog")
    encode = tiny_model.vocabulary.encode
    before, after = torch.tensor(encode("The quick")), torch.tensor(encode(" dog"))
    whole = torch.cat([before.expand(2, -1), ids, after.expand(2, -1)], dim=1)
    torch.testing.assert_close(inside.next_token_logits(ids), tiny_model.next_token_logits(whole))


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "The quick"])
def test_prompt_likelihood_is_that_of_transformers_in_float64(
    pair: tuple[LanguageModel, torch.nn.Module],
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
) -> None:
    monkeypatch.setattr(language_model, "HEAD_POSITIONS", 2)
    model, plain = pair
    inside, ids = model.in_context(prefix, " dog"), random_ids(model, (1, 7), generator)
    before = torch.tensor([inside.prefix_ids], dtype=torch.long)
    logits = plain(torch.cat([before, ids], dim=1)).logits[0]
    logits[:, ~model.head.allowed] = -torch.inf
    ours, known = inside.log_probabilities(ids[0]), inside.num_predicted(7)
    expected = logits.log_softmax(-1)[-known - 1 : -1].gather(1, ids[0, -known:, None])[:, 0]
    torch.testing.assert_close(ours[-known:].double(), expected, rtol=1e-4, atol=1e-4)
    assert ours[: 7 - known].isnan().all()


@torch.no_grad()
def test_final_norm_states_satisfy_the_assumptions_of_the_floor(
    tiny_model: LanguageModel, generator: torch.Generator
) -> None:
    """h = gain ⊙ u + bias with ‖u‖ ≤ √d, and Σu = 0 after a LayerNorm: the floor is a bound only if this holds."""
    norm = tiny_model.head.norm
    assert norm is not None
    vectors = tiny_model.embedding(random_ids(tiny_model, (4, 6), generator))
    h = tiny_model.backbone(inputs_embeds=vectors, use_cache=False).last_hidden_state.flatten(0, 1)
    u = (h - (norm.bias if norm.bias is not None else 0)) / norm.gain
    radius = tiny_model.hidden_size**0.5
    assert (u.norm(dim=1) <= radius * (1 + 1e-5)).all()
    assert (u.norm(dim=1) > 0.95 * radius).all()
    if norm.kind == "layer":
        assert u.sum(1).abs().max() < 1e-2


def test_norm_kinds(tiny_models: dict[str, LanguageModel]) -> None:
    kinds = {name: model.head.norm.kind for name, model in tiny_models.items() if model.head.norm}
    assert kinds == {"llama": "rms", "gpt2": "layer", "gpt_neox": "layer", "gemma3": "rms", "qwen2": "rms"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_without_a_token_may_hold_any_value(value: float, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folders["gpt_neox"], tmp_path / "model"))
    state = load_file(folder / "model.safetensors")
    state["embed_out.weight"][-1] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    whole, model = (load_language_model("tiny", path, "cpu") for path in (tiny_folders["gpt_neox"], folder))
    assert not model.head.allowed[-1]
    results = []
    for each in (whole, model):
        prompt = each.embedding(torch.arange(5))[None].requires_grad_()
        logits = each.next_token_logits(prompt)
        logits.logsumexp(-1).sum().backward()
        results.append((logits.detach(), prompt.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] is not None
    assert results[1][1] is not None
    assert torch.equal(results[0][1], results[1][1])


def test_a_folder_without_safetensors_is_rejected(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    for file in tiny_folders["llama"].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_language_model("broken", tmp_path, "cpu")


def test_prompts_longer_than_the_context_are_rejected(tiny_model: LanguageModel) -> None:
    tiny_model.check_length(64)
    with pytest.raises(ModelError, match=r"65 prompt tokens .* too many"):
        tiny_model.check_length(65)


@pytest.mark.real_model
def test_smollm2_knows_food(smollm2: LanguageModel) -> None:
    q = smollm2.next_token_probabilities("My favourite food is")
    assert smollm2.vocabulary.text(int(q.argmax())) == " a"
    assert abs(q.sum() - 1) < 1e-12

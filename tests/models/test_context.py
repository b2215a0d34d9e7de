"""Tests of the context of prompts: BOS and EOS as the tokenizer adds them, and verbatim text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from distprompt_tui.core.config.spec import Context
from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT
from distprompt_tui.core.errors import ModelError, TargetError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.result_notes import outcome_notes
from distprompt_tui.runs.schema import decode_event, read_result
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.worker.verify import verify
from tests.finished_runs import finished_run
from tests.tiny_tokenizers import SPACE_FIRST, adding, space_first_model, with_tokenizer

BOS_AND_EOS = {"BOS": (True, False), "EOS": (False, True), "both": (True, True)}


def loaded(folder: Path) -> LanguageModel:
    return load_language_model(folder.name, folder, "cpu")


def kl_of_ids(folder: Path, target: np.ndarray[Any, Any], ids: list[int]) -> float:
    """Compute KL after token ids with transformers alone, in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        log_q = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1).numpy()
    inside = target > 0
    return float((target[inside] * (np.log(target[inside]) - log_q[inside])).sum())


def searched(folder: Path, runs_dir: Path, **changes: Any) -> RunDirectory:
    """A finished run of a few hard steps."""
    fields: dict[str, Any] = {
        "model": {"name": str(folder), "device": "cpu"},
        "target": {"family": "temperature", "entropy": 3.0},
        "search": {"method": "hard", "length": 4, "width": 16, "initial_pool": 24},
        "budget": {"steps": 5},
    }
    return finished_run(fields | changes, runs_dir)


@pytest.mark.parametrize("kind", BOS_AND_EOS)
def test_a_pasted_prompt_has_the_reported_divergence(kind: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / kind, adding(*BOS_AND_EOS[kind]))
    run = searched(folder, tmp_path / "runs")
    result = json.loads(run.result.read_text())
    pasted = AutoTokenizer.from_pretrained(folder)(result["prompt_text"]).input_ids
    assert pasted.count(0) == sum(BOS_AND_EOS[kind])
    expected = kl_of_ids(folder, np.load(run.target), pasted)
    assert [result[name] for name in ("kl", "kl_ids", "kl_string")] == pytest.approx([expected] * 3, abs=1e-4)
    checked = verify(run)
    assert (checked.kl_fresh, checked.kl_string) == pytest.approx((expected, expected), abs=1e-4)
    assert result["bos"] is None


def test_target_texts_get_bos_too(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / "bos", adding(True, False))
    model = loaded(folder)
    plain = loaded(tiny_folders["llama"])
    ids = torch.tensor([[0, *model.vocabulary.encode("yes or no")]])
    expected = plain.next_token_logits(ids)[0].double().softmax(-1).numpy()
    for inside in (model, model.in_context("The quick ", " dog")):
        np.testing.assert_allclose(inside.next_token_probabilities("yes or no"), expected, atol=1e-7)
    without = model.in_context("", "", bos=False).next_token_probabilities("yes or no")
    np.testing.assert_allclose(without, plain.next_token_probabilities("yes or no"), atol=1e-7)


def test_the_bos_setting_is_used_and_reported(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / "bos", adding(True, False))
    model = loaded(folder)
    assert (model.prefix_ids, model.bos_note) == ((0,), None)
    assert model.in_context("", "", bos=True).bos_note is None
    run = searched(folder, tmp_path / "runs", context={"bos": False})
    result = json.loads(run.result.read_text())
    target = np.load(run.target)
    assert result["kl"] == pytest.approx(kl_of_ids(folder, target, result["prompt_ids"]), abs=1e-4)
    assert result["kl_string"] == pytest.approx(kl_of_ids(folder, target, [0, *result["prompt_ids"]]), abs=1e-4)
    assert (result["bos"], reduce_all(list(Tailer(run.events, decode_event).read())).bos) == ("no BOS", "no BOS")
    (note,) = outcome_notes(read_result(result))
    assert note.startswith("searched with no BOS, unlike the tokenizer's default: KL ")
    assert json.loads(run.manifest.read_text())["context_ids"] == {"before": [], "after": []}


def test_bos_that_the_tokenizer_does_not_add(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    named = with_tokenizer(tiny_folders["llama"], tmp_path / "named", {}, {"bos_token": "<|end|>"})
    model = loaded(named)
    assert model.prefix_ids == ()
    assert (model.in_context("", "", bos=True).prefix_ids, model.in_context("", "", bos=True).bos_note) == (
        (0,),
        "BOS <|end|>",
    )
    with pytest.raises(ModelError, match="has no BOS token"):
        loaded(tiny_folders["llama"]).in_context("", "", bos=True)


@pytest.mark.parametrize("parts", [{}, {"post_processor": None}, adding(True, True)], ids=["empty", "none", "both"])
@pytest.mark.parametrize("config", [{}, {"add_bos_token": True, "bos_token": "<|end|>"}, {"add_eos_token": True}])
def test_texts_are_tokenized_as_transformers_tokenizes_them(
    parts: dict[str, Any], config: dict[str, Any], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / "m", parts, config)
    vocabulary = load_callable_vocabulary(folder, 400)
    called = AutoTokenizer.from_pretrained(folder)
    before, after = vocabulary.added_ids
    for text in ("yes", " a banana", "", "naïve 🙂\n", "<|end|>yes"):
        ids = called(text).input_ids
        assert vocabulary.encode_alone(text) == ids == [*before, *vocabulary.encode(text), *after]


def test_a_second_bos_gives_a_warning(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / "bos", adding(True, False))
    run = searched(folder, tmp_path / "runs", context={"prefix": "<|end|>yes"}, budget={"steps": 0})
    warnings = [event["text"] for event in Tailer(run.events, decode_object).read() if event["type"] == "warning"]
    assert "the prefix begins with BOS and a second BOS is added: context.bos = false prevents this" in warnings


def test_runs_without_a_recorded_bos_setting_have_no_bos() -> None:
    assert Context.model_validate({"prefix": "a", "suffix": ""}, context=LEGACY_CONTEXT).bos is False
    assert Context.model_validate({"bos": "auto"}, context=LEGACY_CONTEXT).bos == "auto"
    assert Context.model_validate({}).bos == "auto"


@pytest.mark.parametrize("kind", SPACE_FIRST)
def test_context_text_is_kept_verbatim(kind: str, tmp_path: Path) -> None:
    folder = space_first_model(kind, tmp_path, adding(True, False))
    model = loaded(folder)
    vocabulary = model.vocabulary
    for prefix, suffix in (("", ", and"), ("The dog", ", and"), ("My favourite", "s"), ("", "\nyes"), ("", " yes")):
        inside = model.in_context(prefix, suffix)
        pieces = [vocabulary.token_bytes(i) for i in inside.text_ids([])]
        written = b"".join(piece or b"" for piece in pieces).decode()
        assert written.removeprefix(" " if prefix else "") == prefix + suffix
    assert vocabulary.text(vocabulary.id_of(" dog")) == " dog"
    whole = model.in_context("The dog", ", and")
    ids = vocabulary.encode(" sleeps on", continues=True)
    assert is_retokenization_stable(whole, [ids]) == [True]
    text = vocabulary.decode(whole.text_ids(ids))
    assert text == "The dog sleeps on, and"
    assert [*whole.prefix_ids, *ids, *whole.suffix_ids] == AutoTokenizer.from_pretrained(folder)(text).input_ids


def test_a_token_without_leading_space_is_another_token(tmp_path: Path) -> None:
    folder = space_first_model("Prepend", tmp_path)
    vocabulary = load_callable_vocabulary(folder, 400)
    assert vocabulary.text(vocabulary.id_of(" dog")) == " dog"
    with pytest.raises(TargetError, match="is not one token for this model but 2: 'd' \\+ 'og'"):
        vocabulary.id_of("dog")


@pytest.mark.parametrize("kind", SPACE_FIRST)
@pytest.mark.parametrize("method", ["hard", "gcg", "random"])
def test_the_best_prompt_can_be_pasted(kind: str, method: str, tmp_path: Path) -> None:
    folder = space_first_model(kind, tmp_path)
    run = searched(folder, tmp_path / "runs", search={"method": method, "length": 4, "width": 16})
    result = json.loads(run.result.read_text())
    assert result["kl_string"] == pytest.approx(result["kl"], abs=1e-5)


@pytest.mark.real_model
def test_a_pasted_prompt_of_gemma_has_the_reported_divergence(
    gemma_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distprompt_tui.worker.session.solve_bounds", lambda head, target: iter(()))  # takes minutes
    run = searched(gemma_folder, tmp_path, budget={"steps": 1})
    result = json.loads(run.result.read_text())
    pasted = AutoTokenizer.from_pretrained(gemma_folder)(result["prompt_text"]).input_ids
    assert pasted == [2, *result["prompt_ids"]]
    expected = kl_of_ids(gemma_folder, np.load(run.target), pasted)
    assert [result[name] for name in ("kl", "kl_ids", "kl_string")] == pytest.approx([expected] * 3, abs=1e-4)

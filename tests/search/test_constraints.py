"""Allowed tokens, locked positions and initial prompts."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from distprompt_tui.core.config import search_specs as specs
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.gcg import GcgSearch
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.initialization import allowed_ids, mix_target_tokens, nearest_ids, sample
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.retokenization import is_retokenization_stable
from tests.search.targets import outlier_target
from tests.search.test_methods import SETTINGS, search

SWAPS = [name for name, settings in SETTINGS.items() if isinstance(settings, specs.SwapSearchConfig)]


def prompts_of(model: LanguageModel, settings: specs.TokenSearchConfig) -> list[list[int]]:
    """The current prompt after each step."""
    found = search(model, settings)
    prompts = []
    for _ in found.steps():
        prompt, _logits = found.current
        assert isinstance(prompt, HardPrompt)
        prompts.append(prompt.ids.tolist())
    return prompts


@pytest.mark.parametrize("name", list(SETTINGS))
def test_only_allowed_tokens_are_used(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    for allow in ({"allowed": "printable"}, {"allow_regex": "[ a-z]+"}, {"allow_tokens": tuple("abcdefgxyz")}):
        settings = SETTINGS[name].model_copy(update=allow)
        allowed = set(allowed_ids(model, settings).tolist())
        prompts = prompts_of(model, settings)
        assert prompts[0] != prompts[-1]
        assert allowed.issuperset(token for ids in prompts for token in ids)


def test_allowed_ids(tiny_model: LanguageModel) -> None:
    text, token_bytes = tiny_model.vocabulary.text, tiny_model.vocabulary.token_bytes
    usable = allowed_ids(tiny_model, specs.Hard()).tolist()
    printable = allowed_ids(tiny_model, specs.Hard(allowed="printable")).tolist()
    alphabet = set(string.ascii_letters + string.digits + string.punctuation + " ")
    for token in usable:
        raw = token_bytes(token)
        assert raw is not None
        assert (token in printable) == (set(raw.decode("latin-1")) <= alphabet)
    words = allowed_ids(tiny_model, specs.Hard(allow_regex=" [a-z]+")).tolist()
    assert 0 < len(words) < len(usable)
    assert all(text(token)[0] == " " and text(token)[1:].islower() for token in words)
    both = allowed_ids(tiny_model, specs.Hard(allow_regex="[a-c]", allow_tokens=("b", "c", "d"))).tolist()
    assert sorted(map(text, both)) == ["b", "c"]


def test_constraints_without_allowed_tokens_are_rejected(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    with pytest.raises(UsageError, match="exclude every token"):
        search(model, specs.Hard(allow_regex="no token is like this"))
    with pytest.raises(UsageError, match="control token"):
        search(model, specs.Hard(allow_tokens=("<|end|>",)))


@pytest.mark.parametrize("name", SWAPS)
def test_locked_positions_stay(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    ids = model.vocabulary.encode("My favourite food")
    settings = SETTINGS[name].model_copy(
        update={"length": len(ids), "init": "text", "init_text": "My favourite food", "locked": (0, len(ids) - 1)}
    )
    prompts = prompts_of(model, settings)
    assert prompts[0] == ids
    assert prompts[-1] != ids
    assert all((prompt[0], prompt[-1]) == (ids[0], ids[-1]) for prompt in prompts)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"locked": (1,)}, "require init"),
        ({"locked": (7,), "init": "text", "init_text": "yes", "length": 4}, "outside a prompt of length 4"),
        ({"locked": (0, 1), "init": "text", "init_text": "yes", "length": 2}, "all positions are locked"),
        ({"allow_regex": "("}, "invalid regular expression"),
        ({"init": "prompt"}, "'init_prompt' .* require each other"),
    ],
)
def test_inconsistent_settings_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        specs.Gcg(**fields)


def test_starts_from_an_existing_hard_prompt(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    ids = model.vocabulary.encode("heads or tails")
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps({"ids": ids, "text": "heads or tails"}))
    settings = specs.Hard(length=len(ids), init="prompt", init_prompt=str(file), width=16)
    assert prompts_of(model, settings)[0] == ids
    with pytest.raises(UsageError, match=rf"{len(ids)} tokens, not 30: set search.length={len(ids)}"):
        prompts_of(model, settings.model_copy(update={"length": 30}))


def test_unstable_initial_prompt_gives_a_warning(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    ids = [model.vocabulary.id_of(char) for char in "the"]
    assert model.vocabulary.encode("the") != ids
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps({"ids": ids, "text": "the"}))
    told: list[str] = []
    settings = specs.Hard(length=3, init="prompt", init_prompt=str(file))
    found = HardSearch(model, outlier_target(model), settings, 0, 0, told.append)
    list(found.steps())
    assert told == ["the text of the initial prompt is tokenised to other ids"]


def test_starts_from_the_nearest_tokens_of_a_soft_prompt(tiny_model: LanguageModel, tmp_path: Path) -> None:
    ids = torch.tensor(tiny_model.vocabulary.encode("heads or tails"))
    noise = torch.randn(len(ids), tiny_model.hidden_size, generator=torch.Generator().manual_seed(0))
    vectors = 7 * (tiny_model.embedding(ids) + 0.1 * tiny_model.embedding_matrix.std() * noise)
    file = tmp_path / "prompt.safetensors"
    save_file({"prompt_embeddings": vectors}, file)
    settings = specs.Hard(length=len(ids), init="prompt", init_prompt=str(file), width=16)
    assert prompts_of(tiny_model, settings)[0] == ids.tolist()


def test_nearest_tokens_are_stable_under_retokenization(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    inside = tiny_model.in_context("The quick ", " dog")
    allowed = allowed_ids(inside, specs.Hard(allowed="printable"))
    vectors = torch.randn(6, inside.hidden_size, generator=generator)
    ids = nearest_ids(inside, vectors, allowed).tolist()
    assert is_retokenization_stable(inside, [ids]) == [True]
    assert set(ids) <= set(allowed.tolist())


def half_a_character(model: LanguageModel) -> int:
    """A token with bytes that are not UTF-8, so that its text is tokenised to other ids."""
    return next(
        token for token in allowed_ids(model, specs.Hard()).tolist() if model.vocabulary.text(token) == "\ufffd"
    )


def test_without_stable_prompts_a_search_warns_or_does_not_move(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    token = half_a_character(model)
    only = (f"id:{token}",)
    with pytest.raises(UsageError, match="every single token is tokenised to other ids"):
        prompts_of(model, specs.Exhaustive(allow_tokens=only))
    told: list[str] = []
    settings = specs.Gcg(length=2, width=4, allow_tokens=only)
    found = GcgSearch(model, outlier_target(model), settings, 3, 0, told.append)
    list(found.steps())
    assert found.best.prompt.ids.tolist() == [token, token]
    assert told == ["the text of the initial prompt is tokenised to other ids"]


def test_initial_pool_without_allowed_target_tokens(
    tiny_models: dict[str, LanguageModel], generator: torch.Generator
) -> None:
    model = tiny_models["gpt2"]
    allowed = allowed_ids(model, specs.Hard())[:5]
    target = torch.ones(model.vocab_size).index_fill(0, allowed, 0.0)
    drawn = sample(allowed, (4, 3), generator)
    assert torch.equal(mix_target_tokens(drawn, allowed, target, generator), drawn)


def test_invalid_initial_prompts_are_rejected(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    with pytest.raises(UsageError, match="init_text '' has no tokens"):
        prompts_of(model, specs.Hard(length=2, init="text", init_text=""))
    (tmp_path / "prompt.json").write_text(json.dumps({"ids": [1, 10**6]}))
    settings = specs.Hard(length=2, init="prompt", init_prompt=str(tmp_path / "prompt.json"))
    with pytest.raises(UsageError, match="contains the token id 1000000, which gpt2 does not have"):
        prompts_of(model, settings)

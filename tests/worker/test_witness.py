"""The divergence of a prompt that is known before the search, against plain transformers in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distprompt_tui.core.config.spec import ModelSpec, RunSpec
from distprompt_tui.core.errors import ModelError, UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.schema import Witness
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider
from distprompt_tui.worker.witness import find_witness
from tests.finished_runs import plain_kl
from tests.tiny_tokenizers import adding, with_tokenizer

TEXT = "My favourite food is"
OTHER = "The quick brown fox"


def spec_of(target: dict[str, Any], **fields: Any) -> RunSpec:
    return RunSpec.model_validate({"target": target} | fields)


def measured(model: LanguageModel, spec: RunSpec) -> tuple[Witness | None, NDArray[np.float64]]:
    """Return the witness and the target, (V,)."""
    source = ModelProvider(model, ModelSpec(device="cpu"), ignore_progress)
    p = build_target(spec.target, model.vocabulary, source).probabilities
    return find_witness(model, spec, torch.tensor(p)), p


def test_the_text_of_an_own_lm_target_gives_it(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found, _ = measured(model, spec_of({"family": "lm", "text": TEXT}))
    assert found is not None
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert (found.kind, found.text, list(found.ids or ())) == ("hard", TEXT, model.vocabulary.encode(TEXT))
    assert found.length == len(found.ids or ())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_the_text_of_another_entropy_or_model(
    architecture: str, tiny_models: dict[str, LanguageModel], tiny_folders: dict[str, Path]
) -> None:
    model = tiny_models[architecture]
    other = str(tiny_folders["llama" if architecture == "gemma3" else "gemma3"])
    for target in ({"entropy": 4.0}, {"model": other}):
        found, p = measured(model, spec_of({"family": "lm", "text": TEXT} | target))
        assert found is not None
        ids = model.vocabulary.encode(TEXT)
        assert found.kl == pytest.approx(plain_kl(tiny_folders[architecture], p, input_ids=torch.tensor(ids)), abs=1e-5)
        assert found.kl > 1e-3


def test_the_vectors_of_a_reachable_target_give_it(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"].in_context("yes or", "", False)
    found, _ = measured(model, spec_of({"family": "reachable", "length": 3, "seed": 7}))
    assert found is not None
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert (found.kind, found.length, found.text, found.ids) == ("soft", 3, None, None)


def test_the_users_witness_stands_in_the_context_and_comes_first(
    tiny_models: dict[str, LanguageModel], tiny_folders: dict[str, Path]
) -> None:
    model = tiny_models["llama"].in_context("The dog", " is", False)
    found, p = measured(model, spec_of({"family": "lm", "text": TEXT}, witness=OTHER))
    assert found is not None
    assert found.text == OTHER
    encode = model.vocabulary.encode
    ids = [*encode("The dog"), *encode(OTHER, continues=True), *encode(" is", continues=True)]
    assert found.kl == pytest.approx(plain_kl(tiny_folders["llama"], p, input_ids=torch.tensor(ids)), abs=1e-5)


def test_a_token_that_the_tokenizer_adds_is_before_the_witness(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = with_tokenizer(tiny_folders["llama"], tmp_path / "adding", adding(before=True, after=False))
    model = load_language_model("adding", folder, "cpu")
    assert model.prefix_ids == (0,)
    found, p = measured(model, spec_of({"family": "lm", "text": TEXT}, witness=OTHER))
    assert found is not None
    ids = model.vocabulary.encode(OTHER)
    assert list(found.ids or ()) == ids
    assert found.kl == pytest.approx(plain_kl(folder, p, input_ids=torch.tensor([0, *ids])), abs=1e-5)
    own, _ = measured(model, spec_of({"family": "lm", "text": TEXT}))
    assert own is not None
    assert own.kl == pytest.approx(0, abs=1e-6)


def test_no_witness_is_known_of_other_targets(tiny_models: dict[str, LanguageModel]) -> None:
    for target in ({"family": "temperature", "entropy": 3.0}, {"family": "shuffled", "text": TEXT}):
        assert measured(tiny_models["llama"], spec_of(target))[0] is None


def test_witnesses_that_cannot_be_measured(tiny_models: dict[str, LanguageModel]) -> None:
    """A text of the target that is too long in the context is left out; the user's own is an error."""
    model = tiny_models["llama"]
    long = " ".join(["yes"] * 50)
    with pytest.raises(ModelError, match="too many"):
        measured(model, spec_of({"family": "uniform"}, witness=long * 3))
    narrow = model.in_context(" ".join(["no"] * 20), "", False)
    assert len(narrow.encode_prompt(long)) <= narrow.max_length
    assert measured(narrow, spec_of({"family": "lm", "text": long}))[0] is None
    with pytest.raises(UsageError, match="no tokens"):
        find_witness(_without_tokens(model), spec_of({"family": "uniform"}, witness="x"), torch.ones(4) / 4)


def _without_tokens(model: LanguageModel) -> Any:
    """Return a stand-in whose tokenizer drops every text, as some normalizers do."""

    class Empty:
        max_length = model.max_length

        def encode_prompt(self, text: str) -> list[int]:
            return []

    return Empty()

"""Shipped presets: valid, complete, and possible for the models' vocabularies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import build_target, needs_model

FILES = sorted((Path(__file__).parents[2] / "presets").glob("*.toml"))
every_preset = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def spec_of(file: Path) -> RunSpec:
    return RunSpec.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))


def test_presets_cover_each_kind() -> None:
    names = {file.stem for file in FILES}
    assert names >= {"outlier", "low-entropy", "mid-entropy", "high-entropy", "coin-flip", "die", "continuation"}


@every_preset
def test_preset_has_title_and_default_search(file: Path) -> None:
    spec = spec_of(file)
    assert spec.title
    assert spec.description.endswith(".")
    assert (spec.search.method, spec.search.length, spec.budget.steps) == ("soft", 10, 1000)


@pytest.mark.real_model
@every_preset
def test_preset_is_possible_for_both_models(
    file: Path, smollm2_vocabulary: Vocabulary, gemma_vocabulary: Vocabulary
) -> None:
    target = spec_of(file).target
    if needs_model(target):
        return
    for vocabulary in (smollm2_vocabulary, gemma_vocabulary):
        assert build_target(target, vocabulary).probabilities.sum() == pytest.approx(1)

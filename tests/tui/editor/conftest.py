"""The surroundings of the editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from distprompt_tui.core.config.presets import Preset, load_preset
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit, Lm, Temperature
from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.tui.start import listings
from tests.tui.conftest import preset_spec
from tests.tui.vocabularies import write_byte_level

COIN = Explicit(probabilities={" yes": 0.5, " no": 0.5})


@pytest.fixture
def started(small_world: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The start screen's surroundings, with a model with longer tokens and a folder for presets."""
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    vocabulary = write_byte_level(tmp_path / "bytes")
    model = ModelEntry("tiny", "Tiny", 1_000_000, vocabulary.size, "folder", "prepared", tmp_path / "bytes")
    targets = {"coin": COIN, "calm": Temperature(entropy=2.0), "echo": Lm(text="Once", entropy=3.0)}
    shipped = [Preset(name, tmp_path, preset_spec(name, target), True) for name, target in targets.items()]

    def read_presets() -> list[Preset]:
        saved = (tmp_path / "home" / "presets").glob("*.toml")
        return [*shipped, *(load_preset(str(path)) for path in saved)]

    monkeypatch.setattr(listings, "read_models", lambda: [model])
    monkeypatch.setattr(listings, "read_presets", read_presets)
    return small_world

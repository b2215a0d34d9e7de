"""The entropy of a preset: steps, limits, and the name of the changed preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from distprompt_tui.core.config.presets import Preset, load_preset
from distprompt_tui.core.config.target_specs import Lm, Mixture, MixturePart, Outlier, Uniform, Zipf
from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs.directory import create_run
from distprompt_tui.tui.platform.clipboard import headless_command
from distprompt_tui.tui.start.entropy import change_entropy, has_entropy
from distprompt_tui.tui.start.target_preview_data import TargetPreview
from tests.tui.conftest import preset_spec

OF_SIX_NATS = TargetPreview("", entropy=6.0, uniform_kl=4.2, tokens=(), by_rank=())


def preset_of(target: object) -> Preset:
    return Preset("mine", Path("mine.toml"), preset_spec("mine", target), False)


def test_entropy_moves_by_half_a_nat_and_names_the_preset() -> None:
    changed = change_entropy(load_preset("outlier"), None, 4)
    assert changed.name == "outlier"
    assert changed.spec.target == Outlier(entropy=8.0, tokens=(" banana",))
    assert changed.spec.preset == changed.spec.title == "outlier, entropy 8.0"
    assert change_entropy(changed, None, -4).spec.target == load_preset("outlier").spec.target


def test_largest_entropy_is_that_of_the_uniform_distribution() -> None:
    preset = preset_of(Outlier(entropy=6.0, count=1))
    assert change_entropy(preset, OF_SIX_NATS, 8).spec.target == Outlier(entropy=10.0, count=1)
    for by in (9, -13):
        with pytest.raises(UsageError, match=r"the entropy can be 0 to 10\.200 nats"):
            change_entropy(preset, OF_SIX_NATS, by)


def test_targets_without_an_entropy_are_refused() -> None:
    mixture = Mixture(parts=(MixturePart(weight=1.0, target=Uniform()),))
    assert not has_entropy(mixture)
    with pytest.raises(UsageError, match="mixture targets have no entropy setting"):
        change_entropy(preset_of(mixture), OF_SIX_NATS, 1)
    with pytest.raises(UsageError, match="give either an 'exponent' or an 'entropy'"):
        change_entropy(preset_of(Zipf(exponent=1.0)), OF_SIX_NATS, 1)
    with pytest.raises(UsageError, match="not known before its preview is built"):
        change_entropy(preset_of(Lm(text="Once")), None, 1)


def test_the_command_of_a_changed_run_repeats_it(tmp_path: Path) -> None:
    run = create_run(change_entropy(load_preset("outlier"), None, 1).spec, tmp_path)
    assert f"{run.spec_file}" in headless_command(run)
    assert run.read_spec().target == Outlier(entropy=6.5, tokens=(" banana",))

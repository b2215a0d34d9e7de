"""Targets are built once for each spec and tokenizer; errors of the cache are harmless."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distprompt_tui.core.config import paths
from distprompt_tui.core.config.target_specs import Mixture, MixturePart, OneHot, Outlier, TargetSpec, Vanilla, Zipf
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from distprompt_tui.targets import build_target, cache, factory

SPECS: list[TargetSpec] = [
    Vanilla(entropy=3),
    Outlier(entropy=3, count=2),
    Outlier(entropy=3, tokens=("yes",)),
    Zipf(exponent=1),
]


@pytest.fixture
def vocabulary(byte_level: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vocabulary:
    """Read from a file, with an empty cache."""
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    byte_level.tokenizer.save(str(tmp_path / "tokenizer.json"))
    return load_vocabulary(tmp_path, byte_level.size)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[TargetSpec]:
    """Specs of the targets that were built, not read from the cache."""
    specs: list[TargetSpec] = []
    make = factory._make
    monkeypatch.setattr(factory, "_make", lambda spec, *rest: specs.append(spec) or make(spec, *rest))
    return specs


@pytest.mark.parametrize("spec", SPECS)
def test_target_is_built_once(spec: TargetSpec, vocabulary: Vocabulary, made: list[TargetSpec]) -> None:
    first, second = build_target(spec, vocabulary), build_target(spec, vocabulary)
    assert made == [spec]
    assert first.probabilities.tobytes() == second.probabilities.tobytes()
    assert (first.family, first.recipe, first.notes) == (second.family, second.recipe, second.notes)
    assert not second.probabilities.flags.writeable
    assert {path.stat().st_mode & 0o777 for path in paths.targets_dir().iterdir()} == {0o600}


def test_key_contains_all_inputs(vocabulary: Vocabulary, made: list[TargetSpec], byte_level: Vocabulary) -> None:
    vocabularies = [vocabulary, replace(vocabulary, digest="another"), replace(vocabulary, size=vocabulary.size + 1)]
    keys = {cache.cache_key(spec, one) for spec in [*SPECS, Vanilla(entropy=3, seed=1)] for one in vocabularies}
    assert len(keys) == 3 * (len(SPECS) + 1)
    assert None not in keys
    assert cache.cache_key(SPECS[0], byte_level) is cache.cache_key(OneHot(token=5), vocabulary) is None
    with pytest.raises(TargetError, match="not one token"):
        build_target(Outlier(entropy=3, tokens=("no such token",)), vocabulary)


def test_parts_of_a_mixture_are_cached(vocabulary: Vocabulary, made: list[TargetSpec]) -> None:
    mixture = Mixture(parts=(MixturePart(weight=1, target=SPECS[0]), MixturePart(weight=1, target=OneHot(token=5))))
    build_target(mixture, vocabulary)
    build_target(mixture, vocabulary)
    assert made.count(SPECS[0]) == 1


def damaged_json(folder: Path) -> None:
    (file,) = folder.glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"recipe": "another"}))


def damaged_array(folder: Path) -> None:
    (file,) = folder.glob("*.npy")
    np.save(file, np.full(np.load(file).shape, 0.5))


def shorter_array(folder: Path) -> None:
    (file,) = folder.glob("*.npy")
    np.save(file, np.ones(3))


def half_an_array(folder: Path) -> None:
    (file,) = folder.glob("*.npy")
    os.truncate(file, file.stat().st_size // 2)


def no_object(folder: Path) -> None:
    (file,) = folder.glob("*.json")
    file.write_text("[]")


def missing_fields(folder: Path) -> None:
    (file,) = folder.glob("*.json")
    file.write_text("{}")


DAMAGES = [damaged_json, damaged_array, shorter_array, half_an_array, no_object, missing_fields]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_target_is_rebuilt(
    damage: Callable[[Path], None], vocabulary: Vocabulary, made: list[TargetSpec]
) -> None:
    first = build_target(SPECS[0], vocabulary)
    damage(paths.targets_dir())
    assert np.array_equal(build_target(SPECS[0], vocabulary).probabilities, first.probabilities)
    assert len(made) == 2
    build_target(SPECS[0], vocabulary)
    assert len(made) == 2


@pytest.mark.parametrize("in_the_way", ["a file", "a read-only folder"])
def test_unwritable_cache_is_harmless(
    in_the_way: str, vocabulary: Vocabulary, made: list[TargetSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.targets_dir().parent.mkdir()
    if in_the_way == "a file":
        paths.targets_dir().write_text("no folder")
    else:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(cache, "write_array", refuse)  # root may write everywhere
    assert build_target(SPECS[0], vocabulary).entropy == pytest.approx(3)
    assert build_target(SPECS[0], vocabulary).entropy == pytest.approx(3)
    assert len(made) == 2


def test_oldest_targets_are_removed(
    vocabulary: Vocabulary, made: list[TargetSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [Vanilla(entropy=3, seed=seed) for seed in range(4)]
    for spec in kept[:3]:
        build_target(spec, vocabulary)
    names = [cache.cache_key(spec, vocabulary) for spec in kept]
    for age, name in enumerate(names[:3]):
        os.utime(paths.targets_dir() / f"{name}.npy", (age, age))
    size = (paths.targets_dir() / f"{names[0]}.npy").stat().st_size
    monkeypatch.setattr(cache, "MAX_CACHE_BYTES", 2 * size)
    build_target(kept[3], vocabulary)
    assert {path.name for path in paths.targets_dir().iterdir()} == {
        f"{name}.{suffix}" for name in names[2:] for suffix in ("json", "npy")
    }

"""Saved targets are read back unchanged, whatever the case of the extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distprompt_tui.core.config.target_specs import Explicit
from distprompt_tui.targets import Target, build_target, save_target


@pytest.mark.parametrize("name", ["p.npy", "p.NPY", "p.json", "p.JSON", "p.csv", "p.Csv"])
def test_saved_target_is_read_back(name: str, word_vocabulary: Any, tmp_path: Path) -> None:
    vocabulary = word_vocabulary(5, frozenset({3}))
    probabilities = np.where(vocabulary.allowed, np.arange(1.0, vocabulary.size + 1), 0.0)
    target = Target(probabilities / probabilities.sum(), "explicit", "")
    save_target(target, tmp_path / name)
    read = build_target(Explicit(file=str(tmp_path / name)), vocabulary)
    np.testing.assert_allclose(read.probabilities, target.probabilities, rtol=1e-15)

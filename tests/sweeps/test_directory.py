"""Finding the directory of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from distprompt_tui.core.errors import NotFoundError
from distprompt_tui.sweeps.directory import find_sweep, make_directory
from distprompt_tui.sweeps.sweep_spec import Sweep


@pytest.mark.parametrize("name", ["", " ", ".", ".."])
def test_an_empty_name_selects_no_sweep(name: str, tmp_path: Path) -> None:
    sweep = Sweep.model_validate({"name": "v1.5", "series": [{"name": "a", "target": {"family": "uniform"}}]})
    made = make_directory(sweep, tmp_path)
    with pytest.raises(NotFoundError, match="no sweep "):
        find_sweep(name, tmp_path)
    assert find_sweep("v1.5", tmp_path).path == made.path

"""Tests that `runs verify` compares each divergence with the floor for its dtype."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distprompt_tui.core.storage.safe_io import write_json
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.worker.verify import HALF_AGREEMENT_NATS, Verification, verify
from tests.finished_runs import finished_run


def searched(runs_dir: Path, model: Path, dtype: str) -> RunDirectory:
    fields = {
        "model": {"name": str(model), "device": "cpu", "dtype": dtype},
        "target": {"family": "temperature", "entropy": 2.0},
        "search": {"method": "soft", "length": 3},
        "budget": {"steps": 3},
    }
    return finished_run(fields, runs_dir)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_floors_are_those_of_the_dtype(dtype: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    run = searched(tmp_path, tiny_folders["llama"], dtype)
    result = json.loads(run.result.read_text())
    assert result["floor_dtype"] == dtype
    found = verify(run)
    assert (found.floor, found.floor_dtype) == (result["floor"], dtype)
    assert found.floor_fresh is not None
    assert (found.floor_fresh == found.floor) == (dtype == "float32")
    assert found.agrees
    write_json(run.result, result | {"floor": None, "floor_dtype": None})  # as earlier versions wrote it
    assert verify(run).floor_fresh == pytest.approx(found.floor_fresh, abs=1e-9)


def test_a_divergence_below_the_floor_of_its_dtype_is_not_verified() -> None:
    found = Verification(
        0.651, 0.653, None, None, HALF_AGREEMENT_NATS, floor=0.650, floor_dtype="bfloat16", floor_fresh=0.652
    )
    assert found.agrees  # 0.651 is below the floor of float32, which does not concern it
    assert replace(found, kl=0.649).below_floor == ["kl"]
    below = replace(found, kl_fresh=0.651)
    assert not below.agrees
    assert below.result == "not verified: kl_fresh below the floor for the same dtype"
    assert replace(found, kl=0.649, floor_dtype=None).agrees  # a floor of exact arithmetic

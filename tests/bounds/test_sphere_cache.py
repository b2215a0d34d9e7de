"""Tests of the sphere bound beside the other bounds: in the cache and in the table of the command `floor`."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import convert
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from distprompt_tui.bounds.cache import solve_bounds, with_sphere_bound
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.cli.tables import bounds_as_dict, print_bounds
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.runs import schema
from distprompt_tui.targets import Target
from tests.bounds.test_sphere import flat_head


def test_sphere_bound_is_cached_with_the_other_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    head, target = flat_head(3, 4, 0.1), torch.full((60,), 1 / 60, dtype=torch.float64)
    *_, bounds = solve_bounds(head, target)
    assert bounds.sphere_bound is None
    shares: list[float] = []
    found = with_sphere_bound(head, target, bounds, shares.append)
    assert shares[-1] == 1
    assert found.sphere_bound is not None
    assert found.sphere_norm_ratio == 0.99
    assert bounds.floor is not None
    assert bounds.floor < found.sphere_bound
    assert list(solve_bounds(head, target)) == [found]
    assert with_sphere_bound(head, target, found, lambda share: pytest.fail("computed again")) is found
    assert schema.Bounds(**asdict(found)).sphere_bound == found.sphere_bound


@pytest.mark.parametrize(
    ("fields", "shown", "hidden"),
    [
        ({"sphere_bound": 0.25, "norm_ratio": 0.5}, ["floor 0.250", "a norm ≥ 0.99 √d", "ball 0.190"], "sharp"),
        ({"sphere_bound": 0.19, "norm_ratio": 1.0}, ["floor 0.190", "sharp"], "0.99"),
        ({"sphere_bound": 0.19, "norm_ratio": 0.5}, ["floor 0.190", "no higher bound"], "sharp"),
        ({}, ["floor 0.190"], "sphere"),
    ],
    ids=["raised", "sharp", "not raised", "not asked"],
)
def test_the_higher_bound_is_shown_as_the_floor(fields: dict[str, float], shown: list[str], hidden: str) -> None:
    known = {"floor": 0.19, "gap": 1e-5, "head_optimum": 0.3, "agreement": 1.0, "sphere_norm_ratio": 0.99}
    target = Target(np.full(5, 0.2), "uniform", "")
    vocabulary = Vocabulary(Tokenizer(WordLevel({f"t{row}": row for row in range(5)}, unk_token="t0")), 5)
    numbers = bounds_as_dict(convert(known | fields, Bounds), target, vocabulary)
    assert numbers["sphere_bound"] == fields.get("sphere_bound")
    text = io.StringIO()
    print_bounds(Console(file=text, width=200), numbers)
    words = " ".join(text.getvalue().split())
    assert all(part in words for part in shown)
    assert hidden not in words

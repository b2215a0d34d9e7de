"""Transfers between host and device: their values, and how often token searches wait for them."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.search.chain import MIN_OBSERVATIONS
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.transfers import Readback, together, upload
from tests import fake_device
from tests.devices.conftest import LoadOn
from tests.devices.test_searches import search_of
from tests.search.targets import outlier_target

RESULTS = [
    torch.tensor([1.5, -2.0, torch.inf]),
    torch.tensor(7, dtype=torch.int64),
    torch.tensor([[True, False], [False, True], [True, True]]),
    torch.zeros(0, 4),
    torch.arange(5, dtype=torch.int32)[::2],
    torch.tensor([0.25], dtype=torch.bfloat16),
]


def test_results_that_are_copied_together_are_unchanged(device: torch.device) -> None:
    copies = together([upload(result, device) for result in RESULTS])
    for copy, result in zip(copies, RESULTS, strict=True):
        assert copy.device.type == "cpu"
        assert copy.dtype == result.dtype
        assert torch.equal(copy, result)


def test_requested_results_are_copied_with_the_next(fake: torch.device) -> None:
    readback = Readback()
    before = fake_device.reads(), fake_device.uploads()
    one, two = (readback.request(upload(result, fake)) for result in RESULTS[:2])
    assert torch.equal(readback.read(upload(RESULTS[2], fake)), RESULTS[2])
    assert torch.equal(two(), RESULTS[1])
    assert torch.equal(one(), RESULTS[0])
    assert (fake_device.reads(), fake_device.uploads()) == (before[0] + 1, before[1])
    last = readback.request(upload(RESULTS[0], fake))
    assert torch.equal(last(), RESULTS[0])
    assert fake_device.reads() == before[0] + 2


@pytest.mark.parametrize("name", ["hard", "random"])
def test_no_step_waits_for_an_upload(fake: torch.device, load_on: LoadOn, name: str) -> None:
    model = load_on("llama", str(fake)).in_context("The quick ", " dog")
    search = search_of(model, name)
    steps = search.steps()
    next(steps)
    before = fake_device.uploads()
    assert len(list(steps)) > 5
    assert fake_device.uploads() == before


@pytest.mark.parametrize("chains", [1, 3])
@pytest.mark.parametrize("patience", [2, 100])
def test_a_step_of_the_hard_search_waits_once(fake: torch.device, load_on: LoadOn, chains: int, patience: int) -> None:
    """For divergences and the rankings of the next step together, whether the prompts change or not.

    A ranking is read alone after a perturbation, which may have changed the position that is next, and if a position
    is next that was just measured.
    """
    model = load_on("llama", str(fake)).in_context("The quick ", " dog")
    settings = Hard(length=10, width=8, initial_pool=24, patience=patience, draft=False, chains=chains)
    search = HardSearch(model, outlier_target(model), settings, 40, seed=0)
    steps = search.steps()
    next(steps)
    changes, perturbations = 0, 0
    for _ in range(40):
        reads, uploads = fake_device.reads(), fake_device.uploads()
        places = [chain.position for chain in search._chains]
        next(steps)
        apart = sum(at.position == place or place is None for at, place in zip(search._chains, places, strict=True))
        assert fake_device.reads() - reads <= 1 + apart
        assert fake_device.uploads() == uploads
        changes += any(chain.current.step == search._step for chain in search._chains)
        perturbations += None in [chain.position for chain in search._chains]
    assert changes > 5
    assert (perturbations > 0) == (patience == 2)
    assert any(len(measured.tokens) > MIN_OBSERVATIONS for measured in search._chains[-1].measured)

"""Transfers between host and device: their values, and how often token searches wait for them."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.search.transfers import Readback, together, upload
from tests import fake_device
from tests.devices.conftest import LoadOn
from tests.devices.test_searches import search_of

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

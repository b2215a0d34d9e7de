"""Bounds beside a search: their stream, their device and their blocks."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from distprompt_tui.bounds import cache
from distprompt_tui.bounds.cache import _own_stream
from distprompt_tui.bounds.memory import BLOCK_ROWS, DEVICE_BLOCK_BYTES, block_rows


def test_blocks_are_larger_on_a_device_but_limited() -> None:
    assert block_rows(576, on_cpu=True) == BLOCK_ROWS
    assert block_rows(4096, on_cpu=False) == DEVICE_BLOCK_BYTES // (8 * 4096) > BLOCK_ROWS
    assert block_rows(1 << 20, on_cpu=False) == BLOCK_ROWS


def test_work_on_cuda_has_a_stream_of_its_own_on_the_device_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.name = f"stream of {device}"

        def wait_stream(self, other: str) -> None:
            calls.append(f"{self.name} waits for {other}")

        def synchronize(self) -> None:
            calls.append("synchronize")

    @contextmanager
    def entered(stream: Stream):
        calls.append(f"enter {stream.name}")
        yield
        calls.append("leave")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"current of {device}")
    monkeypatch.setattr(torch.cuda, "stream", entered)
    with _own_stream(torch.device("cuda:1")):
        calls.append("work")
    own = "stream of cuda:1"
    assert calls == [f"{own} waits for current of cuda:1", f"enter {own}", "work", "leave", "synchronize"]
    with _own_stream(torch.device("cpu")):
        calls.append("work")
    assert calls[-1] == "work"


def test_the_digest_of_a_weight_does_not_depend_on_the_parts_that_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(10, 3)
    whole = cache._hash_of_weight("start", weight).hexdigest()
    monkeypatch.setattr(cache, "HASHED_ROWS", 4)
    assert cache._hash_of_weight("start", weight.clone()).hexdigest() == whole

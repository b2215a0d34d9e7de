"""The warning before a search that needs more memory than is free."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.core.text.formatting import size
from distprompt_tui.worker.memory_check import expected_memory
from tests.tiny_runs import tiny_spec


def test_a_search_that_needs_more_than_is_free_is_told(
    tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(tiny_folders["llama"])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 40))
    needed, warning = expected_memory(spec)
    assert needed is not None
    assert needed > 400 << 20  # the program itself
    assert warning is None
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100 << 20))
    text = f"the search needs about {size(needed)} of memory on cpu, but 100 MiB are free"
    assert expected_memory(spec) == (needed, text)
    half = spec.model_copy(update={"model": ModelSpec(name=spec.model.name, device="cpu", dtype="bfloat16")})
    assert expected_memory(half)[0] != needed
    assert expected_memory(spec.model_copy(update={"model": ModelSpec(name="no/such-model")})) == (None, None)

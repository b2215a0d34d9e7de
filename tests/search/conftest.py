"""Fixtures of all tests of searches."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _processor_gains_from_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test the draft model on every machine."""
    monkeypatch.setattr("distprompt_tui.search.hard.gains_from_half_precision", lambda model: True)

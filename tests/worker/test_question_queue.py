"""The model server: questions, cancellations, and whether a question is about the loaded model."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distprompt_tui.core.config import spec
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.worker import model_server, question_queue
from distprompt_tui.worker.continuation import Continuations
from distprompt_tui.worker.model_provider import ModelProvider
from distprompt_tui.worker.question_queue import Cancelled, QuestionQueue
from tests.waiting import until


class Lines:
    """A growing standard input."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line

    def put(self, value: dict[str, Any] | None) -> None:
        """Add a line; None ends the input."""
        self._lines.put(json.dumps(value) if value is not None else None)


def is_cancelled(questions: QuestionQueue, number: int) -> bool:
    try:
        questions.refuse_cancelled(number)
    except Cancelled:
        return True
    return False


def test_cancellation_arrives_while_a_question_is_answered() -> None:
    lines = Lines()
    questions = QuestionQueue(lines)
    lines.put({"id": 1})
    assert next(iter(questions)) == {"id": 1}
    assert not is_cancelled(questions, 1)
    lines.put({"cancel": 1})
    until(lambda: is_cancelled(questions, 1))
    assert not is_cancelled(questions, 2)
    lines.put({"id": 2})
    assert next(iter(questions)) == {"id": 2}


def test_end_of_the_input_cancels_and_ends() -> None:
    lines = Lines()
    questions = QuestionQueue(lines)
    lines.put(None)
    assert list(questions) == []
    assert is_cancelled(questions, 1)


def test_reports_have_a_minimum_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = QuestionQueue([])
    now = [100.0]
    monkeypatch.setattr(question_queue, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert questions.may_report()
    assert not questions.may_report()
    now[0] += question_queue.REPORT_SECONDS
    assert questions.may_report()


def test_bounds_report_their_best_values(tiny_model: LanguageModel) -> None:
    seen: list[str] = []
    source = ModelProvider(tiny_model, spec.ModelSpec(name="tiny"), lambda text, fraction: None)
    question = {"ask": "bounds", "target": {"family": "temperature", "entropy": 2.0}}
    answers = list(model_server._answers(question, source, Continuations(), lambda name, value: seen.append(name)))
    assert list(dict.fromkeys(seen)) == ["floor", "head_optimum"]
    assert answers[-1] == {"done": True}
    assert answers[-2]["head_optimum"] is not None
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({}, True),
        ({"model": "tiny"}, True),
        ({"model": "other"}, False),
        ({"model": "tiny", "run": "same"}, True),
        ({"model": "tiny", "run": "changed"}, False),
        ({"model": "tiny", "run": "in another dtype"}, False),
    ],
)
def test_a_question_is_about_the_loaded_model(
    monkeypatch: pytest.MonkeyPatch, question: dict[str, Any], expected: bool
) -> None:
    settings, record = spec.ModelSpec(name="tiny"), ModelRecord(Path("folder"), None, "1", {"a": "1"})
    runs = {
        "same": (settings, ModelRecord(Path("elsewhere"), None, "1", {"a": "1"})),
        "changed": (settings, ModelRecord(Path("folder"), None, "2", {"a": "2"})),
        "in another dtype": (settings.model_copy(update={"dtype": "bfloat16"}), record),
    }

    def asked(name: str, run: str | None = None) -> tuple[spec.ModelSpec, ModelRecord | None]:
        return (spec.ModelSpec(name=name), None) if run is None else runs[run]

    monkeypatch.setattr(model_server, "_asked_model", asked)
    assert model_server._is_about(question, settings, record) == expected

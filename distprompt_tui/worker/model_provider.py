"""Load a spec's model and provide its distributions to target families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.config import spec
from distprompt_tui.models.checkpoint_checks import head_rows
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import OnProgress, prepare_by_name
from distprompt_tui.models.recorded import folder_at_hand, refuse_changed
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.targets import Target, build_target, needs_model


def load_by_name(
    model: spec.ModelSpec, report: OnProgress, recorded: ModelRecord | None = None
) -> tuple[LanguageModel, Path]:
    """Prepare and load a spec's model, and return it with its folder.

    Raises:
        DistPromptError: the model cannot be found, prepared or loaded, or differs from the record.
    """
    folder = prepare_as_recorded(model, report, recorded)
    report(f"loading {model.name}", None)
    loaded = load_language_model(model.name, folder, model.device, model.dtype)
    return replace(loaded, compile=model.compile), folder


def prepare_as_recorded(model: spec.ModelSpec, report: OnProgress, recorded: ModelRecord | None) -> Path:
    """Prepare a spec's model, with the recorded revision and files if there is a record, and return its folder.

    Raises:
        DistPromptError: the model cannot be found or prepared, or differs from the record.
    """
    if recorded is None:
        return prepare_by_name(model.name, report, model.revision)
    folder = folder_at_hand(model.name, recorded)
    if folder is None:
        folder = prepare_by_name(model.name, report, recorded.revision or model.revision)
        refuse_changed(model.name, recorded, folder)
    return folder


def make_target_by_name(asked: spec.RunSpec, report: OnProgress) -> tuple[Target, Vocabulary]:
    """Build a spec's target and load its vocabulary. The model is loaded only if the target family needs it.

    Raise a DistPromptError if the model is not available or the target is invalid.
    """
    if needs_model(asked.target):
        model, _ = load_by_name(asked.model, report)
        model = model.in_context(asked.context.prefix, asked.context.suffix, asked.context.bos)
        return build_target(asked.target, model.vocabulary, ModelProvider(model, asked.model, report)), model.vocabulary
    folder = prepare_by_name(asked.model.name, report, asked.model.revision)
    vocabulary = load_vocabulary(folder, head_rows(folder))
    return build_target(asked.target, vocabulary), vocabulary


Load = Callable[[spec.ModelSpec, OnProgress], tuple[LanguageModel, Path]]


@dataclass(frozen=True)
class ModelProvider:
    """Distributions of a loaded model, a `targets.DistributionSource`. Other models are loaded on demand."""

    model: LanguageModel
    settings: spec.ModelSpec
    report: OnProgress
    load: Load = load_by_name

    def next_token_probabilities(self, text: str) -> NDArray[np.float64]:
        return self.model.next_token_probabilities(text)

    def random_prompt_probabilities(self, length: int, seed: int) -> NDArray[np.float64]:
        return self.model.random_prompt_probabilities(length, seed)

    def other(self, name: str) -> tuple[ModelProvider, Vocabulary]:
        settings = self.settings.model_copy(update={"name": name, "revision": None})
        other, _ = self.load(settings, self.report)
        other = other.in_context("", "", self.model.bos)
        return ModelProvider(other, settings, self.report, self.load), other.vocabulary

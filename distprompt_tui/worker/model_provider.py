"""From a spec's model to a loaded one, and to what target families may ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.config import spec
from distprompt_tui.models.checkpoint_checks import head_rows
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.language_model import LanguageModel, load_language_model
from distprompt_tui.models.prepare import OnProgress, prepare_by_name
from distprompt_tui.models.recorded import folder_at_hand, refuse_changed
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from distprompt_tui.targets import Target, build_target, needs_model


def load_by_name(
    model: spec.ModelSpec, report: OnProgress, recorded: ModelRecord | None = None
) -> tuple[LanguageModel, Path]:
    """Prepare and load a spec's model.

    Args:
        model: name, revision, device and dtype.
        report: is told of progress.
        recorded: what it was when something was begun with it.

    Returns:
        The model and the folder that it was loaded from.

    Raises:
        DistPromptError: it cannot be found, prepared or loaded, or is another than was recorded.
    """
    folder = prepare_as_recorded(model, report, recorded)
    report(f"loading {model.name}", None)
    return load_language_model(model.name, folder, model.device, model.dtype), folder


def prepare_as_recorded(model: spec.ModelSpec, report: OnProgress, recorded: ModelRecord | None) -> Path:
    """The folder of a spec's model; of the recorded revision and with the recorded files, where there is a record.

    Raises:
        DistPromptError: it cannot be found or prepared, or is another than was recorded.
    """
    if recorded is None:
        return prepare_by_name(model.name, report, model.revision)
    folder = folder_at_hand(model.name, recorded)
    if folder is None:
        folder = prepare_by_name(model.name, report, recorded.revision or model.revision)
        refuse_changed(model.name, recorded, folder)
    return folder


def make_target_by_name(asked: spec.RunSpec, report: OnProgress) -> tuple[Target, Vocabulary]:
    """A spec's target and the tokens that it is over; the model is loaded only where the family needs it.

    Raises:
        DistPromptError: the model cannot be had, or the target cannot be made as asked.
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
    """Distributions for target families, `targets.DistributionSource`; another model is loaded when asked for."""

    model: LanguageModel
    settings: spec.ModelSpec
    report: OnProgress
    load: Load = load_by_name

    def next_token_probabilities(self, text: str) -> NDArray[np.float64]:
        return self.model.next_token_probabilities(text)

    def random_prompt_probabilities(self, length: int, seed: int) -> NDArray[np.float64]:
        return self.model.random_prompt_probabilities(length, seed)

    def other(self, name: str) -> tuple[ModelProvider, Vocabulary]:
        """Another model's distributions and tokens; same device, dtype and choice of BOS."""
        settings = self.settings.model_copy(update={"name": name, "revision": None})
        other, _ = self.load(settings, self.report)
        other = other.in_context("", "", self.model.bos)
        return ModelProvider(other, settings, self.report, self.load), other.vocabulary

"""Load a model as a run does, to find out whether it can be searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.core.errors import DistPromptError, ModelError, first_line
from distprompt_tui.models.prepare import OnProgress, ignore_progress, prepare_by_name
from distprompt_tui.worker.model_provider import load_by_name


@dataclass(frozen=True)
class CheckedModel:
    """A model that was loaded with the default device and dtype.

    Attributes:
        folder: holds config, weights and tokenizer.
        device: on which it was loaded.
        dtype: of the backbone.
        vocab_size: V.
        hidden_size: d, the width of an input embedding.
        why_ids_only: reason why only hard prompts can be searched; None if soft ones can be searched, too.
    """

    folder: Path
    device: str
    dtype: str
    vocab_size: int
    hidden_size: int
    why_ids_only: str | None

    def as_text(self) -> str:
        prompts = "soft and hard prompts" if self.why_ids_only is None else f"hard prompts only ({self.why_ids_only})"
        size = f"{self.vocab_size:,} rows, d = {self.hidden_size:,}"
        return f"loaded on {self.device} in {self.dtype}: {size}; {prompts}"


def check_model(name: str, report: OnProgress) -> CheckedModel:
    """Prepare, load and test a model by its name in a spec.

    Args:
        name: of the model.
        report: receives the progress of the preparation.

    Raises:
        DistPromptError: the model cannot be found, prepared, loaded or searched.
    """
    prepare_by_name(name, report)
    try:
        model, folder = load_by_name(ModelSpec(name=name), ignore_progress)
    except DistPromptError:
        raise
    except Exception as error:  # the code of an unknown model may raise anything
        raise ModelError(f"{name} cannot be used: {type(error).__name__}: {first_line(error)}") from error
    dtype = str(model.dtype).removeprefix("torch.")
    return CheckedModel(folder, str(model.device), dtype, model.vocab_size, model.hidden_size, model.why_ids_only)

"""Target previews: built in a thread with numpy, or by the model server if the family needs a model."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.text.formatting import duration

if TYPE_CHECKING:
    from distprompt_tui.core.config import target_specs
    from distprompt_tui.models.vocabulary import Vocabulary


@dataclass(frozen=True)
class TargetPreview:
    """A target for display; entropies in nats.

    Attributes:
        uniform_kl: ln V − H, the uniform baseline.
        tokens: (id, string, probability), most probable first; strings are not sanitised.
        by_rank: probabilities at ranks evenly spaced on a log scale.
    """

    recipe: str
    entropy: float
    uniform_kl: float
    tokens: tuple[tuple[int, str, float], ...]
    by_rank: tuple[float, ...]


@dataclass(frozen=True)
class FoundBounds(Bounds):
    """Bounds of a target so far. `so_far` is the best value so far of the bound `refining`, by its field name."""

    done: bool = False
    refining: str = ""
    so_far: float | None = None


@dataclass(frozen=True)
class ServerStatus:
    """What the model server does.

    Attributes:
        action: such as "loading smollm2", or the failure; empty if it is idle.
        seconds: whole seconds since the start of the action; None if nothing is waited for.
    """

    action: str = ""
    seconds: int | None = None

    def text(self, room: int | None = None) -> str:
        """Return `loading smollm2, 4 s`; where `room` characters are too few for it, `loading, 4 s` or `4 s`."""
        if self.seconds is None or not self.action:
            return self.action
        time = duration(self.seconds)
        texts = (f"{self.action}, {time}", f"{self.action.split()[0]}, {time}", time)
        return next((text for text in texts if room is None or len(text) <= room), time)


class TargetMaker:
    """Builds previews of targets that need no model; caches each model's tokens. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vocabularies: dict[Path, Vocabulary] = {}

    def vocabulary(self, folder: Path, vocab_size: int) -> Vocabulary:
        """Return the tokens of a prepared model.

        Raises:
            ModelError: they cannot be read.
        """
        from distprompt_tui.models.vocabulary import load_vocabulary

        with self._lock:
            if folder not in self._vocabularies:
                self._vocabularies[folder] = load_vocabulary(folder, vocab_size)
            return self._vocabularies[folder]

    def make(self, folder: Path, vocab_size: int, target: target_specs.TargetSpec) -> TargetPreview:
        """Build the preview of a target of a family for which `needs_model` is false, with the `tokenizer.json` in
        `folder`.

        Raises:
            DistPromptError: invalid target, or the tokens cannot be read.
        """
        from distprompt_tui.targets import build_target
        from distprompt_tui.targets.description import describe

        vocabulary = self.vocabulary(folder, vocab_size)
        with self._lock:
            made = build_target(target, vocabulary)
        numbers = {"recipe": made.recipe, "entropy": made.entropy, "uniform_kl": made.uniform_kl(vocabulary)}
        return preview_of(numbers | describe(made.probabilities, vocabulary))


def preview_of(answer: dict[str, Any]) -> TargetPreview:
    return TargetPreview(
        recipe=str(answer["recipe"]),
        entropy=float(answer["entropy"]),
        uniform_kl=float(answer["uniform_kl"]),
        tokens=tuple((int(token), str(text), float(mass)) for token, text, mass in answer["top"]),
        by_rank=tuple(float(mass) for mass in answer["by_rank"]),
    )


def target_needs_model(target: target_specs.TargetSpec) -> bool:
    """Whether the target needs the model server. Imports numpy: call it in a thread."""
    from distprompt_tui.targets import needs_model

    return needs_model(target)

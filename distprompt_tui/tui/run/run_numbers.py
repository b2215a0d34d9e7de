"""The numbers that the headline and the gauge of a run's screen share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.witness import witness_text
from distprompt_tui.tui.run.display_state import DisplayState
from distprompt_tui.tui.run.monitor import RunView

Subject = Literal["now", "best prompt", "last step", "step", "text"]


@dataclass(frozen=True)
class RunNumbers:
    """Divergences and entropies in nats; None if unknown.

    Attributes:
        subject: the prompt that `kl` and `entropy` belong to: the current one of a running search, the best one of an
            ended run, that of the last or of another step, or a typed text.
        step: number of the step, for the subject "step".
        bounds_expected: whether missing bounds may still be found.
        witness: the divergence of a prompt that is known before the search, as `witness_text`; empty without one.
    """

    subject: Subject = "now"
    step: int = 0
    kl: float | None = None
    entropy: float | None = None
    entropy_target: float | None = None
    vocab_size: int = 0
    start_kl: float | None = None
    best_kl: float | None = None
    best_step: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    bounds_expected: bool = True
    witness: str = ""

    @property
    def subject_name(self) -> str:
        return f"step {self.step:,}" if self.subject == "step" else self.subject

    @property
    def judged_kl(self) -> float | None:
        """Divergence whose excess is shown: that of a text, else that of the best prompt."""
        return self.kl if self.subject == "text" else self.best_kl

    @property
    def excess(self) -> float | None:
        return self.bounds.excess(self.judged_kl)

    @property
    def gap_closed(self) -> float | None:
        return self.bounds.gap_closed(self.judged_kl, self.start_kl)


def numbers_of(display: DisplayState, view: RunView, frozen_state: RunState | None = None) -> RunNumbers:
    """Return the numbers of the displayed prompt, and of the best prompt of the run.

    An ended run shows its best prompt. Without a result, that prompt was not measured, and the numbers are those of the
    last step.
    """
    run, shown = frozen_state or view.state, display.state
    subject = _subject(display, run, view)
    is_best = subject == "best prompt"
    return RunNumbers(
        subject=subject,
        step=shown.step,
        kl=run.best_kl if is_best else shown.kl,
        entropy=run.entropy if is_best else shown.entropy,
        entropy_target=run.entropy_target,
        vocab_size=run.vocab_size,
        start_kl=run.start_kl,
        best_kl=run.best_kl,
        best_step=run.best_step,
        bounds=run.bounds,
        bounds_expected=view.is_live,
        witness="" if run.witness is None else witness_text(run.witness, run.length),
    )


def _subject(display: DisplayState, run: RunState, view: RunView) -> Subject:
    if display.comparison_label == "text":
        return "text"
    if display.cursor_step is not None:
        return "step"
    return latest_subject(run, view)


def latest_subject(run: RunState, view: RunView) -> Literal["now", "best prompt", "last step"]:
    """Return the prompt that the latest numbers of a run belong to."""
    if run.phase == "ended":
        return "best prompt" if run.result else "last step"
    return "last step" if view.health == "crashed" else "now"

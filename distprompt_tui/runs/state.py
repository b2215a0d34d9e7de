"""A run as its viewers see it; `runs.reduce` makes it of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from distprompt_tui.bounds.values import Bounds

Phase = Literal["starting", "preparing", "searching", "paused", "ended"]

FORCED = "stopped (forced)"
"""The reason for the end of a run whose worker was killed on request."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One reported step."""

    step: int
    kl: float
    best_kl: float
    entropy: float
    seconds: float
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The other divergences at one snapshot; `reverse_kl` is None where it is infinite."""

    step: int
    reverse_kl: float | None
    js: float
    tv: float


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One position of a prompt.

    Attributes:
        id: the token; for a soft prompt the nearest one by cosine.
        text: its string, not yet made safe for a terminal.
        cosine: of the vector with that token's embedding; None in hard prompts.
        norm: length of the vector over the mean length of the vocabulary's; None in hard prompts.
        changed: the step that changed this position last; None in soft prompts.
        distance: of the vector from that token's embedding, over that mean length; None in hard prompts.
        gained: nats by which the divergence fell when this position changed last; None where it has never changed.
        locked: whether the search leaves it alone.
        surprisal: −ln P by the model itself after what stands before it, nats; None in soft prompts, where nothing
            stands before, and where it was not measured.
    """

    id: int
    text: str
    cosine: float | None = None
    norm: float | None = None
    changed: int | None = None
    distance: float | None = None
    gained: float | None = None
    locked: bool = False
    surprisal: float | None = None


@dataclass(frozen=True, slots=True)
class TriedToken:
    """A token that was tried at a position, and the divergence of the prompt with it there, nats.

    `screened`: it was only looked at in bfloat16, a tenth of a nat off or so.
    """

    id: int
    text: str
    kl: float
    screened: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried at a position of a hard prompt.

    Attributes:
        step: when the newest was measured.
        kl: divergence of the prompt then, nats; with a fluency weight, what was searched for: its objective.
        tokens: the best first; the one that stood there among them.
    """

    step: int
    kl: float
    tokens: tuple[TriedToken, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """A soft prompt's nearest tokens, taken as a hard prompt: what is lost between vectors and tokens.

    Attributes:
        step: at which it was measured.
        ids: the tokens.
        kl: their divergence, nats.
        drift: median distance of the vectors from their tokens' embeddings, over the vocabulary's mean norm.
    """

    step: int
    ids: tuple[int, ...]
    kl: float
    drift: float


@dataclass(frozen=True, slots=True)
class TokenMass:
    """A token's mass in target and achieved, and its part of the divergence in nats (`shares.kl_contributions`)."""

    id: int
    text: str
    target: float
    achieved: float
    share: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The prompt and the two distributions' largest tokens at one step; divergences in nats.

    `reverse_kl` is None where it is infinite: the achieved has mass where the target has none. `candidates`: what was
    tried at each position of a hard prompt, None where nothing was; empty where it was not recorded.
    """

    step: int
    kl: float
    entropy: float
    reverse_kl: float | None
    js: float
    tv: float
    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenMass, ...]
    candidates: tuple[Tried | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """What the worker does before (or beside) the search; `fraction` in 0..1 where it is known."""

    stage: str
    text: str
    fraction: float | None = None


NO_BOUNDS = Bounds()
"""Nothing is known yet."""


@dataclass(frozen=True)
class RunState:
    """All that a viewer knows of a run. Divergences and entropies in nats, times in Unix seconds or seconds.

    `memory` (bytes) and `use` (percent of one core, or of a GPU's time) are of the worker's device; None where it did
    not tell. `bos` is what stands before texts, where that is not what the model's tokenizer puts there.
    `answered` holds the ids of the newest requests that the worker has answered.
    """

    phase: Phase = "starting"
    progress: Progress | None = None
    run: str = ""
    preset: str = ""
    model: str = ""
    method: str = ""
    length: int = 0
    device: str = ""
    dtype: str = ""
    vocab_size: int = 0
    tokenizer_file: str = ""
    recipe: str = ""
    bos: str | None = None
    entropy_target: float | None = None
    uniform_kl: float | None = None
    steps_planned: int | None = None
    seconds_planned: float | None = None
    until: float | None = None
    started_at: float | None = None
    updated_at: float | None = None
    step: int = 0
    kl: float | None = None
    start_kl: float | None = None
    best_kl: float | None = None
    best_step: int | None = None
    best_at: float | None = None
    entropy: float | None = None
    seconds: float = 0.0
    memory: int | None = None
    use: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    readings: tuple[Reading, ...] = ()
    snapshot: Snapshot | None = None
    projection: Projection | None = None
    bounds: Bounds = NO_BOUNDS
    reason: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0
    warnings: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()

    @property
    def steps_per_second(self) -> float | None:
        """Speed over the newest points of the curve."""
        recent = self.curve[-30:]
        if len(recent) < 2 or recent[-1].seconds <= recent[0].seconds:
            return None
        return (recent[-1].step - recent[0].step) / (recent[-1].seconds - recent[0].seconds)

    @property
    def seconds_per_step(self) -> float | None:
        """What a step takes now."""
        return 1 / self.steps_per_second if self.steps_per_second else None

    @property
    def seconds_left(self) -> float | None:
        """Until the budget is spent, at the present speed."""
        estimates = []
        if self.steps_planned is not None and (speed := self.steps_per_second):
            estimates.append((self.steps_planned - self.step) / speed)
        if self.seconds_planned is not None:
            estimates.append(self.seconds_planned - self.seconds)
        return max(min(estimates), 0.0) if estimates else None

    @property
    def excess(self) -> float | None:
        """Best divergence − head optimum, nats."""
        return self.bounds.excess(self.best_kl)

    @property
    def gap_closed(self) -> float | None:
        """Share of the way from the initial prompt's divergence to the head optimum."""
        return self.bounds.gap_closed(self.best_kl, self.start_kl)

"""A small recorded run as a worker would write it, with hostile token strings."""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from distprompt_tui.core.config.search_specs import Hard, Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Outlier
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import EventWriter

HOSTILE = [
    " banana",
    "[/",
    "[TODO] a",
    "\x1b]0;owned\x07",
    " 東京",
    "\u0301x",
    "\u202eright",
    "\n",
    "",
    "[bold red]x[/]",
]
SIZE = 64
"""Vocabulary of the recorded run: hostile tokens, then words."""

UNIFORM = 1.5

SURPRISALS = (None, 0.1, 2.5, 7.0, 11.5, 0.0, 4.2, 1000.5, 3.0, None)
"""Surprisals of the tokens of a hard prompt, nats; one exceeds the displayed maximum."""


def strings() -> list[str]:
    """The string of each token."""
    return [HOSTILE[i] if i < len(HOSTILE) else f" word{i}" for i in range(SIZE)]


def write_tokenizer(folder: Path) -> Path:
    """A `tokenizer.json` of the recorded run's tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {text or "<nothing>": number for number, text in enumerate(strings())}
    path = folder / "tokenizer.json"
    Tokenizer(WordLevel(names, unk_token="<nothing>")).save(str(path))
    return path


def distributions(progress: float) -> tuple[np.ndarray, np.ndarray]:
    """p and q, (SIZE,) each; q is uniform at progress 0 and p at progress 1."""
    weights = np.exp(-np.arange(SIZE) / 5.0)
    p = weights / weights.sum()
    q = p**progress
    return p, q / q.sum()


class Recorder:
    """Writes a run step by step, as a worker does."""

    def __init__(self, runs_dir: Path, method: str = "soft", *, whole_vocabulary: bool = True) -> None:
        search = Soft(length=10) if method == "soft" else Hard(length=10)
        spec = RunSpec(preset="outlier", target=Outlier(entropy=3, count=1), search=search)
        self.run = create_run(spec, runs_dir)
        self.method = method
        self.writer = EventWriter(self.run.events)
        self._whole_vocabulary = whole_vocabulary
        self.step = 0
        self.kl: float | None = None
        """Of the latest step, which is the best one."""
        self.infinite_until = 0
        """The last step at which q > 0 for a token with p = 0."""

    def start(self, witness: schema.Witness | None = None) -> None:
        """The events before the first step."""
        tokenizer = write_tokenizer(self.run.path / "model") if self._whole_vocabulary else Path()
        p, _ = distributions(0)
        if self._whole_vocabulary:
            np.save(self.run.target, p)
        self.writer.write(schema.Progress(stage="model", text="loading", fraction=0.5))
        started = schema.Started(
            run=self.run.name,
            preset="outlier",
            model="tiny",
            method=self.method,
            length=10,
            device="cpu",
            dtype="float32",
            vocab_size=SIZE,
            tokenizer_file=str(tokenizer),
            recipe="falling by rank",
            entropy_target=entropy(p),
            uniform_kl=UNIFORM,
            budget=schema.Budget(steps=100),
            witness=witness,
        )
        self.writer.write(started)

    def steps(self, count: int) -> None:
        """Write more steps, each with a snapshot; the divergence falls and stays above the head optimum."""
        for _ in range(count):
            self.step += 1
            p, q = distributions(1 - math.exp(-self.step / 20))
            kl = self.kl = float((p * np.log(p / q)).sum()) + 0.19
            self.writer.write(schema.Step(self.step, kl, kl, entropy(q), self.step, self.step))
            self.writer.write(self._snapshot(p, q, kl))
            if self._whole_vocabulary:
                np.save(self.run.achieved, q.astype(np.float32))

    def bounds(self) -> None:
        """Floor and head optimum."""
        self.writer.write(schema.Bounds(floor=0.04, gap=1e-6, head_optimum=0.19, agreement=0.9))

    def end(self, reason: str = "budget", error: str | None = None) -> None:
        """The last event."""
        self.writer.write(schema.Ended(reason, {"kl": self.kl}, error))

    @contextmanager
    def living_worker(self) -> Iterator[None]:
        """Context in which this process holds the run's worker lock."""
        descriptor = os.open(self.run.lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            os.close(descriptor)

    def _snapshot(self, p: np.ndarray, q: np.ndarray, kl: float) -> schema.Snapshot:
        texts = strings()
        if self.method == "soft":
            prompt = [schema.PromptToken(i, texts[i], cosine=0.5, norm=1.25) for i in range(10)]
        else:
            prompt = [
                schema.PromptToken(
                    i,
                    texts[i],
                    changed=self.step if i == 3 else 1,
                    improvement=0.25 if i == 3 else None,
                    locked=i == 5,
                    surprisal=surprisal,
                )
                for i, surprisal in enumerate(SURPRISALS)
            ]
        columns = np.stack([p, q, p * np.log(p / q)])[:, :20]
        tokens = (schema.TokenMass(i, texts[i], *values) for i, values in enumerate(columns.T.tolist()))
        return schema.Snapshot(
            step=self.step,
            kl=kl,
            entropy=entropy(q),
            reverse_kl=kl if self.step > self.infinite_until else None,
            js=0.1,
            tv=0.2,
            prompt=tuple(prompt),
            tokens=tuple(tokens),
            candidates=() if self.method == "soft" else candidates(self.step),
        )


def candidates(step: int) -> tuple[schema.PositionCandidates | None, ...]:
    """Candidates at the fourth position, one only scored by a draft model; none elsewhere."""
    texts = strings()
    tokens = (schema.TriedToken(i, texts[i], 1.5 + i / 4 + step / 1000, i == 3) for i in (0, 20, 3))
    tried = schema.PositionCandidates(step, 2.0, tuple(tokens))
    return tuple(tried if position == 3 else None for position in range(10))


def searching(runs_dir: Path, method: str = "soft", *, steps: int = 2, whole_vocabulary: bool = True) -> Recorder:
    """The recorder of a run that has made some steps."""
    recorder = Recorder(runs_dir, method, whole_vocabulary=whole_vocabulary)
    recorder.start()
    recorder.steps(steps)
    return recorder


def recorded(runs_dir: Path, method: str = "soft", steps: int = 40) -> RunDirectory:
    """A run that has ended."""
    recorder = searching(runs_dir, method, steps=steps)
    recorder.bounds()
    recorder.end()
    return recorder.run


def entropy(p: np.ndarray) -> float:
    """H(p) in nats, of positive masses."""
    return float(-(p * np.log(p)).sum())

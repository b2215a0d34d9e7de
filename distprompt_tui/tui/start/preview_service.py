"""What the start screen finds out while the person chooses: targets, their bounds, and models made ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from distprompt_tui.errors import DistPromptError
from distprompt_tui.tui.platform.subprocesses import ModelClient, prepare_model
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.start.target_preview_data import (
    FoundBounds,
    TargetMaker,
    TargetPreview,
    preview_of,
    target_needs_model,
)

if TYPE_CHECKING:
    from distprompt_tui.config import spec
    from distprompt_tui.models.registry import ModelEntry
    from distprompt_tui.models.vocabulary import Vocabulary

REST_SECONDS = 0.35
"""How long a choice must stand before work is spent on it: browsing costs nothing."""

Key = tuple[str, str]
"""A model's name and a target as JSON."""


@dataclass(frozen=True)
class Known:
    """All that is known of one model's target so far."""

    target: TargetPreview | None = None
    failure: str = ""
    bounds: FoundBounds = field(default_factory=FoundBounds)


class TargetPreviewService:
    """Makes previews and asks for bounds; remembers both as long as the app runs.

    Attributes:
        model_server_status: what the model server is doing; empty where it is idle.
        device: where models are loaded; empty until one was.
        maker: has read the models' tokens.
    """

    def __init__(self, changed: Callable[[], None], maker: TargetMaker | None = None) -> None:
        self.model_server_status = ""
        self.device = ""
        self._known: dict[Key, Known] = {}
        self._turns: dict[Key, asyncio.Lock] = {}
        self._changed = changed
        self.maker = maker or TargetMaker()
        self._probe: ModelClient | None = None

    def known(self, model: str, target: spec.Target) -> Known:
        """What has been found out by now."""
        return self._known.get(_key(model, target), Known())

    async def look(self, entry: ModelEntry, target: spec.Target) -> None:
        """Make the preview of a target, then find its bounds. Cancel it when something else is chosen."""
        await asyncio.sleep(REST_SECONDS)
        key = _key(entry.name, target)
        await self._make(key, entry, target, with_probe=True)
        if self._known[key].target is not None:
            await self._find_bounds(key, entry, target)

    async def fill(self, entry: ModelEntry, targets: Iterable[spec.Target]) -> None:
        """Make the previews that need no model, for the small curves in the list."""
        for target in targets:
            await self._make(_key(entry.name, target), entry, target, with_probe=False)

    async def vocabulary(self, entry: ModelEntry) -> Vocabulary:
        """The tokens of a prepared model.

        Raises:
            DistPromptError: they cannot be read.
        """
        assert entry.folder is not None
        assert entry.vocab_size is not None
        return await in_thread(self.maker.vocabulary, entry.folder, entry.vocab_size)

    async def close(self) -> None:
        probe, self._probe = self._probe, None
        self.model_server_status = ""
        if probe is not None:
            await probe.close()

    async def _make(self, key: Key, entry: ModelEntry, target: spec.Target, *, with_probe: bool) -> None:
        async with self._turns.setdefault(key, asyncio.Lock()):
            known = self._known.get(key, Known())
            if known.target is not None or known.failure:
                return
            try:
                if not await in_thread(target_needs_model, target):
                    assert entry.folder is not None
                    assert entry.vocab_size is not None
                    made = await in_thread(self.maker.make, entry.folder, entry.vocab_size, target)
                elif with_probe:
                    made = await self._ask_for_target(entry, target)
                else:
                    return
            except DistPromptError as error:
                self._learn(key, replace(known, failure=str(error)))
            else:
                self._learn(key, replace(known, target=made))

    async def _ask_for_target(self, entry: ModelEntry, target: spec.Target) -> TargetPreview:
        probe = await self._probe_of(entry)
        async with aclosing(probe.ask("target", target=target.model_dump(mode="json"))) as answers:
            answer = await anext(answers)
        self._probe_reports("")
        return preview_of(answer)

    async def _find_bounds(self, key: Key, entry: ModelEntry, target: spec.Target) -> None:
        if self._known[key].bounds.done:
            return
        try:
            probe = await self._probe_of(entry)
            async for answer in probe.ask("bounds", target=target.model_dump(mode="json")):
                self.device = probe.device
                self._probe_reports("" if answer.get("done") else "being found")
                names = ("floor", "head_optimum", "why_no_floor")
                found = {name: answer[name] for name in names if answer.get(name) is not None}
                bounds = replace(self._known[key].bounds, **found, done=bool(answer.get("done")))
                self._learn(key, replace(self._known[key], bounds=bounds))
        except DistPromptError as error:
            self._probe_reports(f"not found: {error}")

    async def _probe_of(self, entry: ModelEntry) -> ModelClient:
        if self._probe is None or self._probe.model != entry.name:
            await self.close()
            self._probe = ModelClient(entry.name, self._probe_reports)
        self._probe_reports(self.model_server_status or "being found")
        return self._probe

    def _probe_reports(self, text: str) -> None:
        if text != self.model_server_status:
            self.model_server_status = text
            self._changed()

    def _learn(self, key: Key, known: Known) -> None:
        self._known[key] = known
        self._changed()


@dataclass(frozen=True)
class Preparing:
    """How far a model's preparation is; `failure` ends it."""

    text: str = "starting"
    fraction: float | None = None
    failure: str = ""


class ModelPreparer:
    """Prepares models, each at most once at a time."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.preparing: dict[str, Preparing] = {}
        self._changed = changed

    async def prepare(self, name: str) -> bool:
        """Make a model ready. Returns whether it is; a failure stays in `preparing`."""
        if name in self.preparing and not self.preparing[name].failure:
            return False
        self._learn(name, Preparing())
        try:
            await prepare_model(name, lambda text, fraction: self._learn(name, Preparing(text, fraction)))
        except DistPromptError as error:
            self._learn(name, Preparing(failure=str(error)))
            return False
        del self.preparing[name]
        self._changed()
        return True

    def _learn(self, name: str, preparing: Preparing) -> None:
        self.preparing[name] = preparing
        self._changed()


def _key(model: str, target: spec.Target) -> Key:
    return model, target.model_dump_json()

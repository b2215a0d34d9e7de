"""Background work for the start screen: targets, their bounds, and preparation of models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.platform.model_client import ModelClient, ModelServerClosedError
from distprompt_tui.tui.platform.subprocesses import prepare_model
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.start.target_preview_data import (
    FoundBounds,
    ServerStatus,
    TargetMaker,
    TargetPreview,
    preview_of,
    target_needs_model,
)

if TYPE_CHECKING:
    from distprompt_tui.core.config import target_specs
    from distprompt_tui.models.registry import ModelEntry
    from distprompt_tui.models.vocabulary import Vocabulary

CLOCK_SECONDS = 1.0  # interval in which the time of a wait is shown
DEBOUNCE_SECONDS = 0.35  # delay before work on a selection starts, so that browsing costs nothing

ASKING, COMPUTING, REFINING = "asking the model", "computing", "refining"

Key = tuple[str, str]  # a model's name and a target as JSON


@dataclass(frozen=True)
class PreviewState:
    target: TargetPreview | None = None
    failure: str = ""
    bounds: FoundBounds = field(default_factory=FoundBounds)


class TargetPreviewService:
    """Builds previews and requests bounds; caches both until the app ends.

    `changed` is called when a preview or the status has changed, and every second during a wait.

    Attributes:
        device: of the loaded model; empty until then.
        maker: has read the models' tokens.
    """

    def __init__(self, changed: Callable[[], None], maker: TargetMaker | None = None) -> None:
        self._status = ""
        self._status_since = 0.0
        self._clock: asyncio.TimerHandle | None = None
        self.device = ""
        self._states: dict[Key, PreviewState] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._changed = changed
        self.maker = maker or TargetMaker()

    @property
    def model_server_status(self) -> ServerStatus:
        is_wait = self._clock is not None
        return ServerStatus(self._status, int(time.monotonic() - self._status_since) if is_wait else None)

    def known(self, model: str, target: target_specs.TargetSpec) -> PreviewState:
        return self._states.get(_key(model, target), PreviewState())

    async def load(self, entry: ModelEntry, target: target_specs.TargetSpec) -> None:
        """Build the preview of a target, then compute its bounds. Cancel the call when the selection changes."""
        await asyncio.sleep(DEBOUNCE_SECONDS)
        key = _key(entry.name, target)
        await self._make(key, entry, target, with_model=True)
        if self._states[key].target is not None:
            await self._find_bounds(key, entry, target)

    async def prefetch(self, entry: ModelEntry, targets: Iterable[target_specs.TargetSpec]) -> None:
        """Build the previews that need no model, for the sparklines of the list."""
        for target in targets:
            await self._make(_key(entry.name, target), entry, target, with_model=False)

    async def vocabulary(self, entry: ModelEntry) -> Vocabulary:
        """Return the tokens of a prepared model.

        Raises:
            DistPromptError: they cannot be read.
        """
        assert entry.folder is not None
        assert entry.vocab_size is not None
        return await in_thread(self.maker.vocabulary, entry.folder, entry.vocab_size)

    def pause(self) -> None:
        """Show no status any more; the caller cancels its calls of `load`. The model stays in memory."""
        self._report("")

    async def _make(self, key: Key, entry: ModelEntry, target: target_specs.TargetSpec, *, with_model: bool) -> None:
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._states.get(key, PreviewState())
            if known.target is not None or known.failure:
                return
            try:
                if not await in_thread(target_needs_model, target):
                    assert entry.folder is not None
                    assert entry.vocab_size is not None
                    made = await in_thread(self.maker.make, entry.folder, entry.vocab_size, target)
                elif with_model:
                    made = await self._ask_for_target(entry, target)
                else:
                    return
            except ModelServerClosedError:
                self._report("")
            except DistPromptError as error:
                self._update(key, replace(known, failure=str(error)))
            else:
                self._update(key, replace(known, target=made))

    async def _ask_for_target(self, entry: ModelEntry, target: target_specs.TargetSpec) -> TargetPreview:
        client = self._client_of(entry, ASKING)
        async with aclosing(client.ask("target", target=target.model_dump(mode="json"))) as answers:
            answer = await anext(answers)
        self._report("")
        return preview_of(answer)

    async def _find_bounds(self, key: Key, entry: ModelEntry, target: target_specs.TargetSpec) -> None:
        if self._states[key].bounds.done:
            self._report("")
            return
        client = self._client_of(entry, COMPUTING)
        try:
            async with aclosing(client.ask("bounds", target=target.model_dump(mode="json"))) as answers:
                async for answer in answers:
                    self.device = client.device
                    bounds = _updated(self._states[key].bounds, answer)
                    self._report(REFINING if bounds.refining else "" if bounds.done else COMPUTING)
                    self._update(key, replace(self._states[key], bounds=bounds))
        except ModelServerClosedError:
            self._report("")
        except DistPromptError as error:
            self._report(f"failed: {error}", is_wait=False)
        finally:
            if self._status in (COMPUTING, REFINING):  # cancelled
                self._report("")

    def _client_of(self, entry: ModelEntry, status: str) -> ModelClient:
        self._report(status)
        client = ModelClient(entry.name, lambda text: self._report(text, since=client.loading_since))
        return client

    def _report(self, text: str, *, since: float | None = None, is_wait: bool = True) -> None:
        """Show a status. `since` is the start of its wait; None is now."""
        if text == self._status:
            return
        self._status, self._status_since = text, time.monotonic() if since is None else since
        if self._clock is not None:
            self._clock.cancel()
        self._clock = None
        if text and is_wait:
            self._start_clock()
        self._changed()

    def _start_clock(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(CLOCK_SECONDS, self._show_time)

    def _show_time(self) -> None:
        self._start_clock()
        self._changed()

    def _update(self, key: Key, known: PreviewState) -> None:
        self._states[key] = known
        self._changed()


@dataclass(frozen=True)
class Preparing:
    """Progress of a model's preparation; `failure` ends it."""

    text: str = "starting"
    fraction: float | None = None
    failure: str = ""


class ModelPreparer:
    """Prepares models; each at most once at a time."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.preparing: dict[str, Preparing] = {}
        self._changed = changed

    async def prepare(self, name: str) -> bool:
        """Prepare a model. Return whether it succeeded; a failure is in `preparing`."""
        if name in self.preparing and not self.preparing[name].failure:
            return False
        self._update(name, Preparing())
        try:
            await prepare_model(name, lambda text, fraction: self._update(name, Preparing(text, fraction)))
        except DistPromptError as error:
            self._update(name, Preparing(failure=str(error)))
            return False
        del self.preparing[name]
        self._changed()
        return True

    def _update(self, name: str, preparing: Preparing) -> None:
        self.preparing[name] = preparing
        self._changed()


def _updated(bounds: FoundBounds, answer: dict[str, Any]) -> FoundBounds:
    """Return bounds with the values of an answer of the model server.

    A computation that was cancelled begins again with the floor; its best value so far remains.
    """
    if "refining" in answer:
        name, so_far = str(answer["refining"]), float(answer["so_far"])
        if getattr(bounds, name) is not None:
            return bounds
        if name == bounds.refining and bounds.so_far is not None:
            so_far = (max if name == "floor" else min)(so_far, bounds.so_far)
        return replace(bounds, refining=name, so_far=so_far)
    found = {field.name: answer[field.name] for field in fields(Bounds) if answer.get(field.name) is not None}
    bounds = replace(bounds, **found, done=bool(answer.get("done")))
    is_refined = bounds.done or bounds.refining in found
    return replace(bounds, refining="", so_far=None) if is_refined else bounds


def _key(model: str, target: target_specs.TargetSpec) -> Key:
    return model, target.model_dump_json()

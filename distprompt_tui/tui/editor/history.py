"""Undo and redo of drafts."""

from __future__ import annotations

from distprompt_tui.tui.editor.target_draft import Draft


class DraftHistory:
    """Drafts before and after the current one. Letters typed or deleted in one field form one step."""

    def __init__(self, draft: Draft) -> None:
        self._now = draft
        self._past: list[Draft] = []
        self._future: list[Draft] = []
        self._field: object = None
        self._length = 0
        self._direction: int | None = None

    def record(self, draft: Draft, field: object = None, length: int = 0) -> None:
        """Add a draft, if it differs from the current one.

        Args:
            field: the text field with the focus, if any.
            length: of its text.
        """
        if draft == self._now:
            return
        by = length - self._length if field is self._field else 0
        continues = field is not None and abs(by) == 1 and self._direction in (None, by)
        if not continues:
            self._past.append(self._now)
        self._direction = by if field is self._field and abs(by) == 1 else None
        self._now, self._field, self._length = draft, field, length
        self._future.clear()

    def undo(self) -> Draft | None:
        """Return to the previous draft; None if there is none."""
        return self._move(self._past, self._future)

    def redo(self) -> Draft | None:
        """Return to the draft that was undone; None if there is none."""
        return self._move(self._future, self._past)

    def _move(self, source: list[Draft], other: list[Draft]) -> Draft | None:
        if not source:
            return None
        other.append(self._now)
        self._now, self._field = source.pop(), None
        return self._now

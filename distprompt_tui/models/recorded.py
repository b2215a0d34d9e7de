"""A model as it was when something was begun with it: found again, or refused where its files are others by now."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.errors import ModelError, UsageError
from distprompt_tui.models.checkpoint_checks import check_folder
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.registry import find_model

MOST_NAMED = 3
"""Changed files in a message."""


def folder_at_hand(name: str, recorded: ModelRecord) -> Path | None:
    """The model's folder, its files being those that were recorded; None where it has to be made or downloaded first.

    The folder that was recorded comes first, so that a package or a branch on the hub that has moved on changes
    nothing.

    Raises:
        NotFoundError: there is no such model any more.
        UsageError: its files are others by now.
        ModelError: they cannot be used.
    """
    if recorded.folder.is_dir() and not _changed(recorded, recorded.folder):
        check_folder(recorded.folder)
        return recorded.folder
    folder = find_model(name).folder
    if folder is not None:
        refuse_changed(name, recorded, folder)
    return folder


def refuse_changed(name: str, recorded: ModelRecord, folder: Path) -> None:
    """Compare a model's files with what was recorded.

    Raises:
        UsageError: they are others; the text names them.
    """
    if changed := _changed(recorded, folder):
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        raise UsageError(
            f"the model {name} has changed since: {', '.join(changed[:MOST_NAMED])}{more} in {folder} "
            f"{'differs' if len(changed) == 1 else 'differ'} from what was recorded; "
            "put the old files back, or start anew with the model as it is"
        )


def _changed(recorded: ModelRecord, folder: Path) -> list[str]:
    try:
        return recorded.changed(folder)
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror}") from error

"""Find the model of an earlier run again, and check that its files have not changed."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.core.errors import ModelError, UsageError, first_few
from distprompt_tui.models.checkpoint_checks import check_folder
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.registry import find_model

MOST_NAMED = 3  # maximum number of changed files named in a message


def folder_at_hand(name: str, recorded: ModelRecord) -> Path | None:
    """Return the folder of the recorded model; None if the model has to be converted or downloaded first.

    The recorded folder has priority, so that an update of the package or of the hub branch has no effect.

    Raises:
        NotFoundError: the model no longer exists.
        UsageError: its files have changed.
        ModelError: its files cannot be used.
    """
    if recorded.folder.is_dir() and not _changed(recorded, recorded.folder):
        check_folder(recorded.folder)
        return recorded.folder
    folder = find_model(name).folder
    if folder is not None:
        refuse_changed(name, recorded, folder)
    return folder


def refuse_changed(name: str, recorded: ModelRecord, folder: Path) -> None:
    """Compare a model's files with the record.

    Raises:
        UsageError: files have changed; the message names them.
    """
    if changed := _changed(recorded, folder):
        raise UsageError(
            f"the model {name} has changed since: {first_few(changed, MOST_NAMED)} in {folder} "
            f"{'differs' if len(changed) == 1 else 'differ'} from the record; "
            "put the old files back, or start a new run with the present model"
        )


def _changed(recorded: ModelRecord, folder: Path) -> list[str]:
    try:
        return recorded.changed(folder)
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror}") from error

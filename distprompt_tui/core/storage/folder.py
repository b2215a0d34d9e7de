"""Paths of files with fixed names in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class _Folder(Protocol):
    @property
    def path(self) -> Path: ...


class FileIn:
    """A descriptor: the path of a file in the folder `path` of each instance."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: _Folder, kind: type[_Folder]) -> Path:
        return folder.path / self._name

"""Which models there are and where each one's files stand. No torch here: the app's start screen uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, convert

from distprompt_tui.config import paths
from distprompt_tui.config.known_models import GGUF, KNOWN, KnownModel, is_path
from distprompt_tui.errors import ModelError, NotFoundError, UsageError, near_matches
from distprompt_tui.models.checkpoint_checks import check_folder, head_rows
from distprompt_tui.models.fingerprint import file_sha256
from distprompt_tui.storage.decode import Count
from distprompt_tui.storage.safe_io import found_in, is_file, is_folder, open_regular, read_json, user_path

Status = Literal["prepared", "installed", "hub"]

GGUF_MAGIC = b"GGUF"

_HUB_NAME = re.compile(r"(?!.*(--|\.\.|\.git$))(?=.{1,96}$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_HUB_RULE = "a hub name is owner/model, of letters, digits, '-', '_' and '.', at most 96"


@dataclass(frozen=True)
class ModelEntry:
    """A model and the state that its files are in.

    Attributes:
        name: what a spec calls it.
        title: what people call it.
        parameters: how many, where known.
        vocab_size: V, where known.
        source: where it comes from, in words.
        status: "prepared" loads at once; "installed" is a GGUF to be converted once; "hub" is to be downloaded.
        folder: config, weights and tokenizer, when prepared.
        gguf: the GGUF file, where there is one on disk.
        sha256: of the GGUF.
        hub: the name to download.
    """

    name: str
    title: str
    parameters: int | None
    vocab_size: int | None
    source: str
    status: Status
    folder: Path | None = None
    gguf: Path | None = None
    sha256: str | None = None
    hub: str | None = None
    package: str | None = None


def list_models(problems: list[str] | None = None) -> list[ModelEntry]:
    """The models with a short name, then whatever else was prepared before.

    Args:
        problems: gets a sentence for each model that is left out because it is damaged.
    """
    found: list[ModelEntry] = []
    readers: list[Callable[[], ModelEntry]] = [partial(_known_entry, model) for model in KNOWN]
    readers += [partial(_prepared_folder, path.parent) for path in found_in(paths.models_dir(), "*/source.json")]
    for read in readers:
        try:
            entry = read()
        except ModelError as error:
            if problems is not None:
                problems.append(str(error))
            continue
        if entry.folder is None or entry.folder not in [other.folder for other in found]:
            found.append(entry)
    return found


def find_model(name: str) -> ModelEntry:
    """A model by its short name, GGUF file, local folder or hub name.

    Raises:
        NotFoundError: nothing is known by that name.
        ModelError: the folder or file cannot be used; the text says why.
    """
    for model in KNOWN:
        if model.name == name:
            return _known_entry(model)
    try:
        if (entry := _local_entry(name)) is not None:
            return entry
    except ModelError as error:
        error.exit_code = NotFoundError.exit_code  # there is no model, whatever else is there
        raise
    for folder in found_in(paths.models_dir(), "*/source.json"):
        with suppress(ModelError):  # a damaged one is another
            if (entry := _prepared_folder(folder.parent)).name == name:
                return entry
    if is_path(name):
        raise NotFoundError(f"no model {'file' if name.lower().endswith(GGUF) else 'folder'} {name}")
    if "/" in name:
        if not _HUB_NAME.fullmatch(name):
            raise NotFoundError(f"no model {name!r}: there is no such file or folder here, and {_HUB_RULE}")
        return ModelEntry(name, name, None, None, f"hub {name}", "hub", hub=name)
    hint = near_matches(name, [model.name for model in KNOWN])
    stop = "" if hint.endswith("?") else "."
    raise NotFoundError(f"no model {name!r}; {hint}{stop} A hub name (owner/model), a folder or a .gguf file works too")


def _local_entry(name: str) -> ModelEntry | None:
    """The model in a folder or file of this name; None where there is neither."""
    path = user_path(name).absolute()
    if not name.strip():
        return None
    if is_folder(path):
        check_folder(path)
        return _folder_entry(name, path)
    if not is_file(path):
        return None
    if not _is_gguf(path):
        raise ModelError(f"{name} is not loaded: a model is a folder with *.safetensors, or a .gguf file")
    return _gguf_entry(name, path)


def _is_gguf(path: Path) -> bool:
    """Whether a file is a GGUF by its name or, where that has another ending, by its first bytes."""
    if path.suffix.lower() == GGUF:
        return True
    try:
        with open_regular(path) as file:
            return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _known_entry(model: KnownModel) -> ModelEntry:
    common: dict[str, Any] = {
        "name": model.name,
        "title": model.title,
        "parameters": model.parameters,
        "vocab_size": model.vocab_size,
        "hub": model.hub,
    }
    try:
        package = metadata.distribution(model.package)
    except metadata.PackageNotFoundError:
        return ModelEntry(**common, source=f"hub {model.hub}", status="hub")
    gguf, sha256 = _packaged_gguf(package, model)
    folder = paths.models_dir() / sha256
    return ModelEntry(
        **common,
        source=f"package {model.package}",
        status="prepared" if folder.is_dir() else "installed",
        folder=folder if folder.is_dir() else None,
        gguf=gguf,
        sha256=sha256,
        package=model.package,
    )


def _packaged_gguf(package: metadata.Distribution, model: KnownModel) -> tuple[Path | None, str]:
    """The file that a package carries and its SHA-256; no path where the package holds it in parts.

    The package itself is not imported: what it depends on may not be installed.
    """
    files = {file.name: Path(str(file.locate())) for file in package.files or []}
    if model.gguf is not None:
        if model.gguf not in files:
            raise ModelError(f"the package {model.package} does not hold {model.gguf}: install it again")
        return files[model.gguf], _sha256(files[model.gguf])
    return None, files["SHA256SUMS"].read_text().split()[0]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _gguf_entry(name: str, path: Path) -> ModelEntry:
    sha256 = _sha256(path)
    folder = paths.models_dir() / sha256
    if folder.is_dir() and is_checked(folder):
        return _prepared_folder(folder, name)
    return ModelEntry(name, path.stem, None, None, f"file {path.name}", "installed", gguf=path, sha256=sha256)


def is_checked(folder: Path) -> bool:
    """Whether a folder that was made from a GGUF is known to hold all of the model's weights.

    Earlier versions did not check that; what they made of a file by somebody else is made again.
    """
    try:
        source = read_json(folder / "source.json")
    except UsageError:
        return False
    return source.get("checked") is True or source.get("name") in {model.name for model in KNOWN}


class _Source(Struct):
    """`source.json` of a converted model."""

    name: str
    title: str
    parameters: Count
    vocab_size: Count
    file: str


def _prepared_folder(folder: Path, name: str | None = None) -> ModelEntry:
    try:
        source = convert(read_json(folder / "source.json"), _Source)
        return ModelEntry(
            name=name or source.name,
            title=source.title,
            parameters=source.parameters,
            vocab_size=source.vocab_size,
            source=f"file {source.file}",
            status="prepared",
            folder=folder,
            sha256=folder.name,
        )
    except (UsageError, KeyError, ValueError) as error:
        raise ModelError(f"{folder} is damaged ({error}): delete it, it is made again from its GGUF") from error


def _folder_entry(name: str, folder: Path) -> ModelEntry:
    return ModelEntry(name, folder.name, None, head_rows(folder), f"folder {folder}", "prepared", folder=folder)

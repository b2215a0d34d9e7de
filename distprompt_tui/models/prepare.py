"""Make a model ready to load: convert a GGUF to safetensors once, or download it from the hub."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path

from distprompt_tui.config import paths
from distprompt_tui.errors import ModelError, NotFoundError, UsageError, first_line
from distprompt_tui.models.checkpoint_checks import check_folder
from distprompt_tui.models.fingerprint import ModelRecord, files_sha256
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.registry import ModelEntry, find_model, is_checked
from distprompt_tui.storage.decode import read_field
from distprompt_tui.storage.lock import take_lock
from distprompt_tui.storage.safe_io import read_json, write_json

OnProgress = Callable[[str, float | None], None]
"""Is told what happens, in words, and the share done (0..1) where it is known."""

_BUILDING = ".building-"

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
"""How the parts of a split GGUF are named."""

HUB_FILES = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]


def prepare(entry: ModelEntry, report: OnProgress, revision: str | None = None) -> Path:
    """The model's folder with config, safetensors and tokenizer; made or downloaded first where needed.

    Two processes that prepare the same model at once do the work once: the second waits for the first.

    Args:
        entry: from the registry.
        report: is told of progress.
        revision: of a hub model.

    Raises:
        ModelError: it cannot be had or converted; the text says why.
        UsageError: the folder of converted models cannot be locked.
    """
    if entry.folder is not None:
        _check_converted(entry.folder)
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
    """`prepare` for a name that the registry resolves."""
    return prepare(find_model(name), report, revision)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ModelError(f"no model can be written under {folder.parent}: {error.strerror}") from error
    try:
        take_lock(lock, folder.parent, wait=True)
        yield
    finally:
        os.close(lock)


@contextmanager
def _building(models_dir: Path) -> Iterator[Path]:
    """A temporary folder, locked while it is in use and removed on the way out, where it was not moved into place.

    Folders that a killed process left behind are removed first: nobody holds their locks.
    """
    for left in models_dir.glob(f"{_BUILDING}*"):
        with suppress(OSError, UsageError), _locked(left):
            shutil.rmtree(left)
    with ExitStack() as stack:
        while True:  # another process may take the folder for a dead one's before it is locked
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
    """Convert into a temporary folder, then rename: `folder` is complete or not there."""
    if entry.gguf is not None and (part := _PART.search(entry.gguf.name)) and int(part[1]) > 1:
        raise ModelError(
            f"{entry.gguf.name} is one of {int(part[1])} parts of a split GGUF: put them together first, "
            "'llama-gguf-split --merge FIRST_PART WHOLE.gguf' does"
        )
    with _building(folder.parent) as building:
        alone = building / "model.gguf"  # whatever lies beside a foreign file is not looked at
        if entry.gguf is None:
            report("putting the model file together", 0.02)
            import_module(str(entry.package).replace("-", "_")).assemble(alone)
        else:
            alone.symlink_to(entry.gguf.absolute())
        _write_safetensors(entry, alone, building, report)
        alone.unlink()
        source = building / "source.json"
        write_json(source, read_json(source) | {"files_sha256": files_sha256(building)})
        building.rename(folder)


def _check_converted(folder: Path) -> None:
    """Compare a converted model's files with what they were when they were written.

    Raises:
        ModelError: they are others.
    """
    try:
        written = read_field(dict[str, str], read_json(folder / "source.json"), "files_sha256")
    except UsageError:  # a folder of the user's own
        return
    if written is not None and (changed := ModelRecord(folder, files=written).changed(folder)):
        raise ModelError(
            f"{folder} is damaged ({changed[0]} is not what was converted): delete it, it is made again from its GGUF"
        )


def _write_safetensors(entry: ModelEntry, gguf: Path, folder: Path, report: OnProgress) -> None:
    """Read with transformers, write the state dict ourselves: `save_pretrained` refuses a model that came from GGUF."""
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
    except Exception as error:  # a damaged file raises anything in its readers
        raise ModelError(f"{failure}: {first_line(error)}") from error
    report("converting the weights, once", 0.3)
    model = load_causal_model(failure, gguf.parent, torch.float32, gguf.name)
    report("writing safetensors", 0.9)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain float32 from here on
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
    write_json(folder / "source.json", source)


def _without_tied_copies(state: dict) -> dict:  # type: ignore[type-arg]
    """Drop tensors that share memory with an earlier one: loading ties them again."""
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
    report(f"looking for {entry.hub}, downloading it where it is not here yet", None)
    try:
        folder = Path(snapshot_download(entry.hub, revision=revision, allow_patterns=HUB_FILES))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no folder {entry.hub} here, and the hub has no such model, or it needs a login (hf auth login)",
            exit_code=NotFoundError.exit_code,
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"there is no folder {entry.hub} here, and as a hub name it could not be downloaded: {first_line(error)}",
            exit_code=NotFoundError.exit_code,
        ) from error
    check_folder(folder)
    return folder

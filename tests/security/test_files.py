"""Untrusted files: limits of size, pipes, pickles, names and symbolic links."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from distprompt_tui.core.config.presets import load_preset, save_preset
from distprompt_tui.core.config.spec import ModelSpec, RunSpec
from distprompt_tui.core.config.target_specs import Explicit, Uniform
from distprompt_tui.core.config.toml_files import MAX_TOML_BYTES
from distprompt_tui.core.errors import DistPromptError, NotFoundError, UsageError
from distprompt_tui.core.storage import prompt_files, safe_io
from distprompt_tui.core.storage.npy import read_target
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.core.storage.safe_io import open_private, read_json, read_limited, write_json
from distprompt_tui.models import vocabulary
from distprompt_tui.models.vocabulary import load_vocabulary
from distprompt_tui.runs.directory import RunDirectory, create_run, find_run, list_runs
from distprompt_tui.runs.events import MAX_LINE_BYTES, EventWriter, Tailer, decode_object
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.process import delete_run, send, start_worker
from distprompt_tui.targets import explicit as explicit_target
from distprompt_tui.targets.explicit import explicit
from distprompt_tui.tui.platform.clipboard import keep
from distprompt_tui.tui.settings import read_settings

SPEC = RunSpec(target=Uniform())


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(SPEC, tmp_path / "runs")


class Bomb:
    """Creates a folder if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def _target(path: Path) -> Any:
    return explicit(Explicit(file=str(path)), None, None)  # type: ignore[arg-type]


READ_WHOLE: dict[str, tuple[str, int, Callable[[Path], Any]]] = {
    "preset": ("mine.toml", MAX_TOML_BYTES, lambda path: load_preset(str(path))),
    "settings": ("settings.toml", MAX_TOML_BYTES, read_settings),
    "spec": ("spec.toml", MAX_TOML_BYTES, lambda path: RunDirectory(path.parent).read_spec()),
    "result": ("result.json", safe_io.MAX_JSON_BYTES, read_json),
    "ids": ("prompt.json", safe_io.MAX_JSON_BYTES, read_prompt),
    "vectors": ("prompt.safetensors", prompt_files.MAX_BYTES, read_prompt),
    "masses": ("masses.json", explicit_target.MAX_FILE_BYTES, _target),
    "table": ("masses.csv", explicit_target.MAX_FILE_BYTES, _target),
    "tokenizer": ("tokenizer.json", vocabulary.MAX_TOKENIZER_BYTES, lambda path: load_vocabulary(path.parent, 9)),
}


@pytest.mark.parametrize("kind", READ_WHOLE)
def test_files_have_a_size_limit(kind: str, tmp_path: Path) -> None:
    name, most, read = READ_WHOLE[kind]
    with (tmp_path / name).open("wb") as file:
        file.truncate(most + 1)  # a sparse file
    with pytest.raises(DistPromptError) as told:
        read(tmp_path / name)
    assert "\n" not in str(told.value)
    with pytest.raises(OSError, match=f"larger than {most:,} bytes"):
        read_limited(tmp_path / name, most)


@pytest.mark.parametrize("kind", [kind for kind in READ_WHOLE if kind not in ("masses", "table", "tokenizer")])
def test_pipes_are_rejected(kind: str, tmp_path: Path) -> None:
    name, _, read = READ_WHOLE[kind]
    os.mkfifo(tmp_path / name)
    with pytest.raises(DistPromptError):
        read(tmp_path / name)


def test_pipes_in_a_run_directory_do_not_block(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for path in (run.events, run.log, run.target, run.lock):
        os.mkfifo(path)
    assert Tailer(run.events, decode_object).read() == []
    assert read_log(run.log) == []
    with pytest.raises(UsageError, match="target cannot be read"):
        read_target(run.target)


def test_overlong_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":"' + b"x" * (2 * MAX_LINE_BYTES) + b'"}\n{"b":2}\n')
    tailer = Tailer(path, decode_object)
    assert tailer.read() == [{"b": 2}]
    assert tailer.damaged == 1
    with path.open("ab") as file:
        file.write(b"y" * (MAX_LINE_BYTES + 1))
    assert tailer.read() == []
    with path.open("ab") as file:
        file.write(b'y\n{"c":3}\n')
    assert tailer.read() == [{"c": 3}]
    assert tailer.damaged == 2


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "it was run"
    bomb = Bomb(mark)
    np.save(tmp_path / "target.npy", np.array([bomb], dtype=object), allow_pickle=True)
    for name in ("prompt.json", "prompt.safetensors", "prompt.bin", "mine.toml", "masses.json"):
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    for read, name in [
        (read_target, "target.npy"),
        (_target, "target.npy"),
        (read_prompt, "prompt.json"),
        (read_prompt, "prompt.safetensors"),
        (read_prompt, "prompt.bin"),
        (_target, "masses.json"),
        (lambda path: load_preset(str(path)), "mine.toml"),
    ]:
        with pytest.raises(UsageError):
            read(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_and_probabilities_must_be_finite(bad: float, tmp_path: Path) -> None:
    save_file({"prompt_embeddings": np.full((2, 3), bad, np.float32)}, tmp_path / "prompt.safetensors")
    with pytest.raises(UsageError, match="not finite"):
        read_prompt(tmp_path / "prompt.safetensors")
    np.save(tmp_path / "target.npy", np.array([0.5, bad]))
    with pytest.raises(UsageError, match="negative or non-finite"):
        read_target(tmp_path / "target.npy")
    np.save(tmp_path / "target.npy", np.array([1.5, -0.5]))
    with pytest.raises(UsageError, match="negative or non-finite"):
        read_target(tmp_path / "target.npy")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".hidden", "a/b", "", "x\n", "\x1b[2J", "x" * 65])
def test_preset_names_cannot_be_paths(name: str) -> None:
    with pytest.raises(UsageError, match="invalid preset name"):
        save_preset(name, SPEC)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", "\x1b]0;x\x07\n", "a/../../b", "\0"])
def test_run_directory_is_inside_the_runs_folder(name: str, tmp_path: Path) -> None:
    run = create_run(SPEC.model_copy(update={"preset": name, "model": ModelSpec(name=name)}), tmp_path / "runs")
    assert run.path.parent == tmp_path / "runs"
    assert run.name.isprintable()
    assert run.path.resolve().parent == (tmp_path / "runs").resolve()
    with pytest.raises(NotFoundError):
        find_run("../" * 3 + "etc", tmp_path / "runs")


FILES = ["events", "control", "lock", "log", "trace", "best", "heartbeat", "result"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_written_through_a_link(name: str, run: RunDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    path: Path = getattr(run, name)
    if name == "best":
        elsewhere.mkdir()
        path.rmdir()
    else:
        elsewhere.write_text("mine")
        path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a symbolic link: nothing is written"):
        start_worker(run)
    if name == "control":
        with pytest.raises(UsageError, match="symbolic links"):
            send(run, "stop")
    if name == "events":
        with pytest.raises(OSError, match="symbolic links"):
            EventWriter(run.events)
    run.spec_file.unlink()
    assert list_runs(run.path.parent) == []
    assert elsewhere.is_dir() or elsewhere.read_text() == "mine"


def test_replacing_a_link_keeps_its_destination(run: RunDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    for path in (run.manifest, run.path / "last-copy.txt"):
        path.symlink_to(elsewhere)
    write_json(run.manifest, {})
    assert keep("a text", run.path) == run.path / "last-copy.txt"
    assert elsewhere.read_text() == "mine"
    (run.path / "link").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        open_private(run.path / "link", os.O_WRONLY)


def test_deleting_a_run_keeps_destinations_of_links(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (run.path / "link").symlink_to(tmp_path / "mine")
    run.result.symlink_to(tmp_path / "mine" / "file")
    delete_run(run)
    assert not run.path.exists()
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_export_into_the_run_follows_no_link(run: RunDirectory, tmp_path: Path) -> None:
    write_json(run.result, {"kl": 0.5})
    run.events.touch()
    (run.path / "adapter").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"):
        export_run(run, "csv")
    assert export_run(run, "csv", tmp_path / "steps.csv").read_text().startswith("step,kl,")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        export_run(run, "csv", tmp_path / "nowhere" / "steps.csv")


def test_export_of_a_damaged_run_names_the_damage(run: RunDirectory, tmp_path: Path) -> None:
    save_file({"prompt_embeddings": np.ones((2, 3), np.float32)}, run.best / "prompt.safetensors")
    write_json(run.result, {"kl": 0.5})
    write_json(run.manifest, {"model_folder": 7, "dtype": "float32"})
    with pytest.raises(UsageError, match=r"manifest\.json is damaged: .*model_folder"):
        export_run(run, "peft", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_ambiguous_part_of_a_name_is_rejected(tmp_path: Path) -> None:
    runs = [create_run(SPEC, tmp_path / "runs") for _ in range(2)]
    with pytest.raises(NotFoundError, match="'uniform' matches 2 runs: "):
        find_run("uniform", tmp_path / "runs")
    assert find_run(runs[0].name, tmp_path / "runs").path == runs[0].path


def test_new_run_is_accessible_to_its_owner_only(run: RunDirectory) -> None:
    for path in (run.path, *run.path.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path

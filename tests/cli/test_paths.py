"""Unusual paths and names from the user give one clear line and lose no data."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.core.config.toml_files import find_toml
from distprompt_tui.core.errors import DistPromptError, NotFoundError
from distprompt_tui.core.storage.safe_io import absolute, user_path, write_out
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.models.registry import find_model
from distprompt_tui.runs.directory import find_run
from distprompt_tui.worker import doctor

NASTY = {
    "empty": "",
    "space": " ",
    "newline": "a\nb",
    "no such user": "~nosuchuser/x",
    "null": "a\0b",
    "half a character": "a\udcffb",
    "not in UTF-8": "x/\ud800",
    "too long": "n" * 5000,
    "too long below": "a/" + "n" * 300,
    "too long for the system": "a/" * 4000,
    "loop": "loop",
    "below a loop": "loop/x.toml",
    "below a file": "file/x.toml",
    "below a file, no ending": "file/x",
    "dangling": "dangling",
    "dangling preset": "./dangling.toml",
    "folder as a preset": "./folder.toml",
    "pipe": "./pipe.toml",
    "device": "/dev/null",
    "unusual": "-x/..:\\",
    "root": "/",
    "parent": "..",
    "three parts": "a/b/c",
    "markup": "[bold]x[/bold]",
    "braces": "{x}%s",
    "not ASCII": "modèle/größe",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with unusual files."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("text")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "dangling.toml").symlink_to("nowhere")
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


COMMANDS = {
    "preset": ["run", "@"],
    "target file": ["run", "--target", "@"],
    "target's model": ["target", "uniform", "--model", "@"],
    "presets check": ["presets", "check", "@"],
    "models prepare": ["models", "prepare", "@"],
    "run's model": ["run", "mid-entropy", "--model", "@"],
    "floor": ["floor", "@"],
    "verify": ["runs", "verify", "@"],
    "transfer": ["runs", "transfer", "@"],
    "resume": ["runs", "resume", "@"],
    "delete": ["runs", "delete", "--yes", "@"],
    "stop": ["runs", "stop", "@"],
    "export": ["runs", "export", "@", "--format", "json"],
    "attach": ["attach", "@"],
    "report": ["report", "@"],
    "sweep": ["sweep", "@"],
    "sweep's model": ["sweep", "finding-entropy", "--model", "@"],
    "app's preset": ["--preset", "@"],
}


LIKE_A_HUB_NAME = ("below a loop", "below a file", "below a file, no ending")
"""A run or sweep with this model starts, because only the hub can report that it does not exist."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("folder")
def test_invalid_name_is_one_line_and_exit_code_2_or_3(command: str) -> None:
    for kind, name in NASTY.items():
        if kind in LIKE_A_HUB_NAME and command in ("sweep's model", "run's model"):
            continue
        result = CliRunner().invoke(app, [name if part == "@" else part for part in COMMANDS[command]])
        error = result.exception
        code = error.exit_code if isinstance(error, DistPromptError) else result.exit_code
        assert code in (2, 3), (kind, error, result.output)
        if isinstance(error, DistPromptError):
            assert len(sanitize(str(error)).splitlines()) == 1


@given(st.text(alphabet=st.characters(), max_size=40) | st.text("~./a\0\ud800-: ", max_size=12))
def test_any_string_is_a_name_or_one_error(name: str) -> None:
    for look in (find_model, lambda text: find_toml(text, "preset", ()), lambda text: find_run(text, Path("/none"))):
        with suppress(DistPromptError):
            look(name)
    with suppress(NotFoundError):
        assert user_path(name).name is not None
    assert absolute(name, Path("/here"))


def distprompt_of_nobody(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user without a known home folder."""
    code = "import pwd\ndef unknown(_): raise KeyError\npwd.getpwuid = unknown\n"
    code += "from distprompt_tui.cli import main\nmain()"
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "DISTPROMPT_HOME")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=kept | environment,
        check=False,
    )


def test_distprompt_home_replaces_an_unknown_home(tmp_path: Path) -> None:
    for command in (["paths"], ["presets"], ["models"], ["runs", "list"], ["doctor"]):
        found = distprompt_of_nobody(*command, DISTPROMPT_HOME=str(tmp_path))
        assert (found.returncode, found.stderr) == (0, "")
    assert "~" not in found.stdout
    found = distprompt_of_nobody("paths")
    assert found.returncode == 2
    assert found.stderr.startswith("distprompt-tui: no home folder found: set DISTPROMPT_HOME")


def unusable_homes(folder: Path) -> dict[str, str]:
    """Make paths that cannot hold the program's files, even for root."""
    (folder / "a-file").write_text("")
    (folder / "link").symlink_to(folder / "nowhere" / "x")
    return {"a file": str(folder / "a-file"), "a dangling link": str(folder / "link"), "a system's": "/proc/x"}


def test_unwritable_home_gives_advice_or_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"GGUF")
    for home in unusable_homes(tmp_path).values():
        monkeypatch.setenv("DISTPROMPT_HOME", home)
        places = {check.name: check for check in doctor._places()}
        assert "cannot be written" in places["runs"].value
        assert "set DISTPROMPT_HOME to another folder" in places["models"].advice
        assert doctor._models()[0].name == "known models"
        for command in (["models"], ["presets"], ["runs", "list"]):
            assert CliRunner().invoke(app, command).exit_code == 0
        assert find_model(str(gguf)).status == "installed"


def test_write_out_keeps_links_and_permissions(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"old, and longer than the new one")
    kept.chmod(0o640)
    inode = kept.stat().st_ino
    link = tmp_path / "link"
    link.symlink_to("kept")
    write_out(link, b"new")
    assert link.is_symlink()
    assert kept.read_bytes() == b"new"
    assert (stat.S_IMODE(kept.stat().st_mode), kept.stat().st_ino != inode) == (0o640, True)
    os.link(kept, tmp_path / "second")
    write_out(kept, b"both")
    assert (tmp_path / "second").read_bytes() == b"both"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("made")
    write_out(dangling, b"x")
    assert (tmp_path / "made").read_bytes() == b"x"
    longest = tmp_path / ("ä" * 127)
    write_out(longest, b"x")
    assert longest.read_bytes() == b"x"
    umask = os.umask(0o027)
    try:
        write_out(tmp_path / "new", b"x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_write_out_to_pipes_and_devices(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_out, args=(pipe, b"x" * 100_000))
    writer.start()
    assert len(pipe.read_bytes()) == 100_000
    writer.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "null").symlink_to("/dev/null")
    write_out(tmp_path / "null", b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_out(Path("/dev/full"), b"x")
    for place in (tmp_path, tmp_path / "none" / "x", tmp_path / "pipe.csv" / "x"):
        with pytest.raises(OSError, match="directory"):
            write_out(place, b"x")


def test_write_out_to_standard_output(tmp_path: Path) -> None:
    code = "from pathlib import Path; from distprompt_tui.core.storage.safe_io import write_out; print('before')\n"
    code += "write_out(Path('/dev/stdout'), b'table'); print(' after')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\ntable after\n"


def test_model_files_are_recognized_by_content_and_folders_give_hints(folder: Path) -> None:
    for name in ("blob", "X.GGUF"):
        (folder / name).write_bytes(b"GGUF....")
        assert find_model(f"./{name}").status == "installed"
    (folder / "deep" / "snapshots" / "1").mkdir(parents=True)
    (folder / "deep" / "snapshots" / "1" / "config.json").write_text("{}")
    for name, hint in ((".", r"name the GGUF file in it: .*X\.GGUF"), ("deep", r"snapshots/1 has one")):
        with pytest.raises(DistPromptError, match=hint) as told:
            find_model(name)
        assert told.value.exit_code == 3

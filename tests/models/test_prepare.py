"""Tests of the temporary folders of conversions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distprompt_tui.models.prepare import _building


def test_folders_of_killed_conversions_are_removed_and_of_running_ones_kept(tmp_path: Path) -> None:
    (tmp_path / ".building-old").mkdir()
    (tmp_path / ".building-old" / "model.gguf").symlink_to("nowhere")
    (tmp_path / "prepared").mkdir()
    (tmp_path / ".building-file").write_text("mine")
    code = (
        "import sys, pathlib, time\n"
        "from distprompt_tui.models.prepare import _building\n"
        "with _building(pathlib.Path(sys.argv[1])) as folder:\n"
        "    print(folder.name, flush=True); time.sleep(1000)\n"
    )
    living, killed = (
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    names = [process.stdout.readline().strip() for process in (living, killed) if process.stdout is not None]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".building-file", "prepared", *names])
    killed.kill()
    killed.wait()
    with _building(tmp_path) as folder:
        there = {".building-file", "prepared", names[0], folder.name}
        assert {path.name for path in tmp_path.iterdir()} == there
        folder.rename(tmp_path / "done")
    with pytest.raises(ValueError, match="damaged"), _building(tmp_path):
        raise ValueError("damaged")
    assert {path.name for path in tmp_path.iterdir()} == {".building-file", "prepared", names[0], "done"}
    living.kill()
    living.wait()

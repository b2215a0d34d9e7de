"""The built wheel works without the checkout: installed into an environment of its own and run from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from distprompt_tui import __version__
from tests.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pip(*arguments: str | Path, cwd: Path) -> None:
    run(sys.executable, "-m", "pip", *arguments, cwd=cwd, env={"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel. Its dependencies are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    pip("--python", folder, "install", "--no-deps", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path that a .pth file adds has its own .pth files ignored, the editable install's among them.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n")
    return folder


def test_the_wheel_has_what_is_not_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert f"distprompt_tui-{__version__}" in wheel.name
    assert "distprompt_tui/py.typed" in names
    assert "distprompt_tui/sweeps/lm_texts.toml" in names
    presets = {path.relative_to(ROOT / "presets").as_posix() for path in (ROOT / "presets").rglob("*.toml")}
    assert {f"distprompt_tui/presets_shipped/{name}" for name in presets} <= names
    styles = {path.relative_to(ROOT).as_posix() for path in (ROOT / "distprompt_tui").rglob("*.*css")}
    assert styles
    assert styles <= names


def test_the_installed_program_runs_in_another_folder(
    environment: Path, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    def python(code: str) -> str:
        return run(environment / "bin" / "python", "-c", code, cwd=tmp_path, env=clean).strip()

    clean = {"PYTHONPATH": "", "DISTPROMPT_HOME": str(tmp_path / "home")}
    command = environment / "bin" / "distprompt-tui"
    package = Path(python("import distprompt_tui; print(distprompt_tui.__file__)")).parent
    assert package.is_relative_to(environment)
    assert python("from distprompt_tui.core.config.paths import shipped_presets_dir as d; print(d())") == str(
        package / "presets_shipped"
    )
    listed = run(command, "presets", cwd=tmp_path, env=clean)
    assert all(path.stem in listed for path in (ROOT / "presets").glob("*.toml"))
    on_tiny_model = ("--model", tiny_folders["llama"], "--set", 'target.tokens=["yes"]', "--set", "target.entropy=3")
    assert "head optimum" in run(command, "run", "outlier", "--steps", "5", *on_tiny_model, cwd=tmp_path, env=clean)
    (manifest,) = (tmp_path / "home" / "runs").glob("*/manifest.json")
    assert f'"program":"{__version__}"' in manifest.read_text().replace(" ", "")

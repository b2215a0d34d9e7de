"""Copied commands reproduce the spec; fields insert pasted text or warn."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.events import Paste

from distprompt_tui.cli.options import Options
from distprompt_tui.core.config.presets import load_preset, override
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.runs.directory import create_run
from distprompt_tui.tui.platform.clipboard import headless_command
from distprompt_tui.tui.widgets.visible_input import Field, VisibleInput


def parsed(command: str) -> RunSpec:
    """Return the spec that a command gives, without the check of its model."""
    words = shlex.split(command)
    assert words[:2] == ["distprompt-tui", "run"]
    preset, options = words[2], words[3:]
    given_options = dict(zip(options[::2], options[1::2], strict=True))
    sets = [value for name, value in zip(options[::2], options[1::2], strict=True) if name == "--set"]
    method: Any = given_options.get("--method")
    numbers = {name: given_options.get(f"--{name}") for name in ("steps", "seed")}
    spec = load_preset(preset).spec
    fields = [f"{'budget.steps' if name == 'steps' else name}={value}" for name, value in numbers.items() if value]
    with_method = Options(method=method).apply(spec) if method else spec
    return override(with_method, [*fields, *sets])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [" yes", "'", '"', "$HOME", "\\", "\t", "\x85", "", "-x", "a=b", "\n", "\x7f", "\u2028", "2024", "true", "😀"]
)


@given(text=TEXTS, description=TEXTS, seed=st.integers(0, 99))
def test_a_command_gives_the_same_spec(text: str, description: str, seed: int) -> None:
    base = load_preset("outlier").spec
    changed = {"seed": seed, "description": description, "preset": "outlier"}
    context = base.context.model_copy(update={"prefix": text})
    spec = base.model_copy(update={**changed, "context": context})
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(spec, Path(folder) / "a 'run' $x")
        assert parsed(headless_command(run)) == run.read_spec() == spec


class Fields(App[None]):
    """Two fields."""

    ascii_only = False

    def compose(self) -> ComposeResult:
        yield Field(id="plain")
        yield Field(id="number", type="integer", max_length=6)
        yield VisibleInput(id="text")


@pytest.mark.parametrize(
    ("name", "text", "value", "told"),
    [
        ("plain", "one\ntwo three", "one", "2 words were omitted"),
        ("plain", "  name\n", "name", ""),
        ("number", " 300\n", "300", ""),
        ("number", "12 apples", "", "nothing was inserted"),
        ("number", "12345678", "", "nothing was inserted"),
        ("text", "one\r\ntwo\rthree\n", "one\ntwo\nthree\n", ""),
        ("text", "a\x85b\u2028c", "a\x85b\u2028c", ""),
    ],
)
async def test_pasting_inserts_or_warns(name: str, text: str, value: str, told: str) -> None:
    app = Fields()
    async with app.run_test() as pilot:
        field = app.query_one(f"#{name}", Field)
        field.post_message(Paste(text))
        await pilot.pause()
        assert field.value == value
        messages = [notification.message for notification in app._notifications]
        assert bool(messages) == bool(told)
        assert all(told in message for message in messages)

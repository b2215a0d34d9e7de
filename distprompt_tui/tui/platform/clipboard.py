"""Texts to copy from a run. Terminals do not confirm OSC 52, so a file gets the text too."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import MAX_JSON_BYTES, read_json, read_limited, write_atomically
from distprompt_tui.runs.state import RunState

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

MAX_TERMINAL_BYTES = 70_000  # terminals and tmux silently drop longer OSC 52 sequences

_OPTIONS = {
    "model.name": "--model",
    "budget.steps": "--steps",
    "budget.seconds": "--seconds",
    "budget.until": "--until",
    "seed": "--seed",
}
"""Fields with a command-line option."""


def text_of(what: str, run: RunDirectory, state: RunState) -> str:
    """Return the text of one of `copy_question`'s answers; empty if there is none yet."""
    if what == "path":
        return str(run.path)
    if what == "attach":
        return f"distprompt-tui attach {shlex.quote(run.name)}"
    if what == "command":
        return headless_command(run)
    if what == "result":
        return _read(run.result) or _result_so_far(run)
    best = _best_prompt(run)
    if what == "text" and isinstance(best.get("text"), str):
        return str(best["text"])
    if what == "ids" and isinstance(best.get("ids"), list):
        return json.dumps(best["ids"])
    tokens = state.snapshot.prompt if state.snapshot else ()
    return "".join(token.text for token in tokens) if what == "text" else json.dumps([token.id for token in tokens])


def keep(text: str, folder: Path) -> Path | None:
    """Write the text into a folder; return None if that fails."""
    path = folder / "last-copy.txt"
    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except (OSError, UnicodeEncodeError):
        return None
    return path


def headless_command(run: RunDirectory) -> str:
    """Return the command line that repeats a run: its preset with the changed fields, or its own spec.

    Raises:
        UsageError: the run's spec cannot be read.
    """
    from distprompt_tui.core.config.presets import load_preset, override, with_method
    from distprompt_tui.core.errors import DistPromptError

    spec = run.read_spec()
    try:
        found = load_preset(spec.preset)
        preset, is_by_name = found.spec, found.path.is_absolute() and not spec.preset.startswith("-")
        base = with_method(preset, spec.search.method)
        changes = _changes(base.model_dump(mode="json"), spec.model_dump(mode="json"))
        same_target = preset.target == spec.target
        if is_by_name and same_target and override(base, [f"{at}={value}" for at, value in changes.items()]) == spec:
            method = ["--method", spec.search.method] if preset.search.method != spec.search.method else []
            return shlex.join(["distprompt-tui", "run", spec.preset, *method, *_options(changes)])
    except DistPromptError:  # the preset was deleted or changed
        pass
    named = f"preset={_toml(spec.preset)}"  # presets are named after their files
    return shlex.join(["distprompt-tui", "run", str(run.spec_file), "--set", named])


def _changes(old: dict[str, Any], new: dict[str, Any], under: str = "") -> dict[str, str]:
    """Return fields with different values, by path; the values as TOML, which is JSON for these types."""
    found: dict[str, str] = {}
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            found |= _changes(old[name], value, f"{under}{name}.")
        elif value != old.get(name):
            found[under + name] = _toml(value)
    return found


def _options(changes: dict[str, str]) -> list[str]:
    options: list[str] = []
    for field, value in changes.items():
        is_plain = field in _OPTIONS and "\\" not in value  # options have no escapes
        options += [_OPTIONS[field], str(json.loads(value))] if is_plain else ["--set", f"{field}={value}"]
    return options


def _toml(value: object) -> str:
    return "".join(
        char if char.isprintable() else f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
        for char in json.dumps(value, ensure_ascii=False)
    )


def _best_prompt(run: RunDirectory) -> dict[str, object]:
    try:
        return read_json(run.best / "prompt.json")
    except UsageError:
        return {}


def _result_so_far(run: RunDirectory) -> str:
    """Return the summary of a run without a result file as JSON; empty before the first step."""
    from distprompt_tui.runs.summary import as_dict, summarise

    summary = summarise(run)
    return "" if summary.best_kl is None else json.dumps(as_dict(summary))


def _read(path: Path) -> str:
    try:
        return read_limited(path, MAX_JSON_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return ""

"""The configuration of a run, for large terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distprompt_tui.core.storage.decode import Count, Finite, read_field
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit_to, sanitize
from distprompt_tui.tui.widgets.line_widget import LineWidget

_LABEL_CELLS = 14

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ConfigurationData:
    """`settings`: of the spec, as names and values; `device` and `dtype`: those that the worker uses."""

    settings: Settings = ()
    device: str = ""
    dtype: str = ""


class Configuration(LineWidget[ConfigurationData]):
    BORDER_TITLE = "Configuration"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(ConfigurationData(), id=id, classes=classes)

    def lines(self, width: int, height: int) -> list[Line]:
        return configuration_lines(self.data, width)


def settings_of(spec: Mapping[str, Any]) -> Settings:
    """Return the settings of a spec of plain values that determine its search; missing and invalid ones are left out.

    Args:
        spec: the fields of a spec, not validated.
    """
    parts = {name: read_field(dict, spec, name) or {} for name in ("model", "search", "context", "budget")}
    search = parts["search"]
    model = read_field(str, parts["model"], "name")
    optimizer = read_field(str, search, "optimizer")
    lr = read_field(Finite, search, "lr")
    rate = None if lr is None else f"{lr:g}" + (f" ({optimizer})" if optimizer else "")
    rows = (
        ("model", None if model is None else Path(model).name),
        ("method", read_field(str, search, "method")),
        ("length", _counted(search, "length", "vector" if search.get("method") == "soft" else "token")),
        ("seed", _counted(spec, "seed")),
        ("learning rate", rate),
        ("batch", _counted(search, "restarts", "prompt") or _candidates(search)),
        ("context", _context(parts["context"])),
        ("budget", _budget(parts["budget"])),
    )
    return tuple((name, value) for name, value in rows if value is not None)


def configuration_lines(data: ConfigurationData, width: int) -> list[Line]:
    rows = list(data.settings)
    place = next((number for number, (name, _) in enumerate(rows) if name == "context"), len(rows))
    rows[place:place] = [(name, text) for name, text in (("device", data.device), ("dtype", data.dtype)) if text]
    return [
        [(f"{name:<{_LABEL_CELLS}}", "quiet"), (fit_to(sanitize(value), max(width - _LABEL_CELLS, 1)), "")]
        for name, value in rows
    ]


def _counted(fields: Mapping[str, Any], name: str, noun: str = "") -> str | None:
    number = read_field(Count, fields, name)
    if number is None:
        return None
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if noun else str(number)


def _candidates(search: Mapping[str, Any]) -> str | None:
    """Return the candidates in a step, with the number of chains if there are several."""
    width = _counted(search, "width", "candidate") or read_field(str, search, "width")
    chains = read_field(Count, search, "chains") or 1
    return width if width is None or chains == 1 else f"{width} in each of {chains:,} chains"


def _context(fields: Mapping[str, Any]) -> str:
    prefix, suffix = (read_field(str, fields, name) or "" for name in ("prefix", "suffix"))
    bos = {True: "BOS", False: "no BOS"}.get(fields.get("bos", "auto"), "")
    texts = [f"{prefix!r} before" if prefix else "", f"{suffix!r} after" if suffix else "", bos]
    return ", ".join(filter(None, texts)) or "none"


def _budget(fields: Mapping[str, Any]) -> str | None:
    seconds, until = read_field(Finite, fields, "seconds"), read_field(Finite, fields, "until")
    limits = [
        _counted(fields, "steps", "step"),
        None if seconds is None else f"{seconds:g} s",
        None if until is None else f"until {until:g}",
    ]
    return ", ".join(filter(None, limits)) or None

"""What the app remembers of how a person likes it: a small TOML file in the user's config folder, read before the
first paint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from distprompt_tui.config.toml_files import read_toml
from distprompt_tui.errors import UsageError, near_matches
from distprompt_tui.storage.safe_io import write_atomically
from distprompt_tui.tui.themes import DARK

Order = Literal["mass", "share", "target", "achieved", "gap"]
ORDERS: tuple[Order, ...] = ("mass", "share", "target", "achieved", "gap")

Scale = Literal["log", "linear"]
SCALES: tuple[Scale, ...] = ("log", "linear")

Switch = Literal["off", "on"]
SWITCHES: tuple[Switch, ...] = ("off", "on")

SLOWEST, FASTEST = 0.5, 5.0
"""Updates a second. Above, drawing costs more than a slow line or a busy machine has to give."""


@dataclass(frozen=True)
class Settings:
    """Every setting with its default.

    Attributes:
        theme: a theme's name; one that is not known (any more) is not an error here: the app knows its themes.
        updates_per_second: how often a living run is read and drawn.
        token_order: what the tokens of a run are sorted by at first.
        divergence_scale: of the plot at first.
        bar_scale: of the tokens' bars at first.
        bell: rung when a search that is watched ends.
    """

    theme: str = DARK
    updates_per_second: float = 2.0
    token_order: Order = ORDERS[0]
    divergence_scale: Scale = "log"
    bar_scale: Scale = "linear"
    bell: Switch = "off"


def read_settings(path: Path) -> Settings:
    """The settings of a file; the defaults where there is none.

    Raises:
        UsageError: the file cannot be read or says something that is no setting; the text names it.
    """
    if not path.exists():
        return Settings()
    values, _ = read_toml(path)
    return Settings(**{name: _checked(path, name, value) for name, value in values.items()})


def write_settings(path: Path, settings: Settings) -> Path | None:
    """Replace the file. One that cannot be understood is put aside, not lost.

    Returns:
        Where the damaged file went; None where there was none.

    Raises:
        UsageError: the file cannot be written.
    """
    import tomli_w

    text = tomli_w.dumps(asdict(settings))
    path = path.resolve()  # a link into somebody's dotfiles stays one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _put_aside(path)
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise UsageError(f"the settings cannot be kept in {path}: {error.strerror}") from error
    return aside


def _put_aside(path: Path) -> Path | None:
    try:
        read_settings(path)
    except UsageError:
        return path.rename(path.with_name(f"{path.stem}.damaged-{time.strftime('%Y%m%dT%H%M%S')}{path.suffix}"))
    return None


def _one_of(known: tuple[str, ...]) -> Callable[[Any], str]:
    return lambda value: "" if value in known else f"it should be one of {', '.join(map(repr, known))}"


def _is_speed(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if is_number and SLOWEST <= value <= FASTEST else f"it should be a number from {SLOWEST} to {FASTEST}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "theme": lambda value: "" if isinstance(value, str) else "it should be the name of a theme",
    "updates_per_second": _is_speed,
    "token_order": _one_of(ORDERS),
    "divergence_scale": _one_of(SCALES),
    "bar_scale": _one_of(SCALES),
    "bell": _one_of(SWITCHES),
}
"""A setting's check: what is wrong with a value, or nothing."""


def _checked(path: Path, name: str, value: Any) -> Any:
    if name not in _CHECKS:
        known = near_matches(name, [field.name for field in fields(Settings)])
        raise UsageError(f"{path}: {name} is not a setting; {known}")
    if problem := _CHECKS[name](value):
        raise UsageError(f"{path}: {name}: {problem} (given: {value!r})")
    return float(value) if isinstance(value, int) else value

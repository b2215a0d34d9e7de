"""What the app remembers of how a person likes it: a small TOML file in the user's config folder, read before the
first paint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from msgspec import Meta, ValidationError, convert

from distprompt_tui.config.toml_files import read_toml
from distprompt_tui.errors import UsageError, near_matches
from distprompt_tui.storage.legacy import SETTING_VALUES
from distprompt_tui.storage.safe_io import write_atomically
from distprompt_tui.tui.themes import DARK

Order = Literal["mass", "contribution", "target", "achieved", "gap"]
ORDERS: tuple[Order, ...] = ("mass", "contribution", "target", "achieved", "gap")

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
    updates_per_second: Annotated[float, Meta(ge=SLOWEST, le=FASTEST)] = 2.0
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


_TYPES = get_type_hints(Settings, include_extras=True)
_EXPECTED = {"theme": "the name of a theme", "updates_per_second": f"a number from {SLOWEST} to {FASTEST}"}


def _checked(path: Path, name: str, value: Any) -> Any:
    if name not in _TYPES:
        raise UsageError(f"{path}: {name} is not a setting; {near_matches(name, list(_TYPES))}")
    if name == "token_order" and isinstance(value, str):
        value = SETTING_VALUES.get(value, value)
    try:
        return convert(value, _TYPES[name])
    except ValidationError as error:
        expected = _EXPECTED.get(name) or f"one of {', '.join(map(repr, get_args(_TYPES[name])))}"
        raise UsageError(f"{path}: {name}: it should be {expected} (given: {value!r})") from error

"""The user's settings: a small TOML file in the config folder, read before the first paint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from msgspec import Meta, ValidationError, convert

from distprompt_tui.core.config.toml_files import read_toml
from distprompt_tui.core.errors import UsageError, near_matches
from distprompt_tui.core.storage.legacy import SETTING_VALUES
from distprompt_tui.core.storage.safe_io import write_atomically
from distprompt_tui.tui.themes import DARK

Order = Literal["probability", "contribution", "target", "achieved", "gap"]
ORDERS: tuple[Order, ...] = get_args(Order)

Scale = Literal["log", "linear"]
SCALES: tuple[Scale, ...] = get_args(Scale)

Switch = Literal["off", "on"]
SWITCHES: tuple[Switch, ...] = get_args(Switch)

SLOWEST, FASTEST = 0.5, 5.0  # updates a second. Faster drawing would overload a slow line or a busy machine.


@dataclass(frozen=True)
class Settings:
    """All settings and their defaults. The app checks whether the theme exists; the scales and the order are initial
    values.
    """

    theme: str = DARK
    updates_per_second: Annotated[float, Meta(ge=SLOWEST, le=FASTEST)] = 2.0
    token_order: Order = ORDERS[0]
    divergence_scale: Scale = "log"
    bar_scale: Scale = "linear"
    bell: Switch = "off"


def read_settings(path: Path) -> Settings:
    """Read the settings; return the defaults if there is no file.

    Raises:
        UsageError: the file cannot be read or contains an invalid setting; the message names it.
    """
    if not path.exists():
        return Settings()
    values, _ = read_toml(path)
    return Settings(**{name: _checked(path, name, value) for name, value in values.items()})


def write_settings(path: Path, settings: Settings) -> Path | None:
    """Replace the file. An invalid file is renamed, not deleted.

    Returns:
        The new path of the invalid file, or None.

    Raises:
        UsageError: the file cannot be written.
    """
    import tomli_w

    text = tomli_w.dumps(asdict(settings))
    path = path.resolve()  # keep a link to a dotfile
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _put_aside(path)
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise UsageError(f"the settings cannot be written to {path}: {error.strerror}") from error
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

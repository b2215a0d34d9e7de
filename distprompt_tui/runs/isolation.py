"""Start processes with open standard streams and without importing modules from the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def open_standard_streams() -> None:
    """Open the null device for each closed descriptor among 0, 1 and 2.

    Otherwise the next opened file would become a standard stream: the output of libraries would be written into it,
    and a child process would lose it when it receives another stream in its place.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 - never closed
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def leave_working_directory() -> None:
    """Remove the entries of `sys.path` that `python -m` and relative entries of PYTHONPATH add."""
    try:
        here = os.path.abspath("")  # noqa: PTH100 - pathlib may not be imported before the path is clean
    except FileNotFoundError:  # the directory was deleted, so it has no modules
        return
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep) if not sys.flags.ignore_environment else []
    for entry in entries:
        absolute = os.path.abspath(entry)  # noqa: PTH100 - see above
        if not os.path.isabs(entry) and absolute in sys.path:  # noqa: PTH117
            sys.path.remove(absolute)


def leave_deleted_directory() -> None:
    """Change to the root folder if the working directory was deleted: torch does not load without one."""
    try:
        os.getcwd()  # noqa: PTH109 - see above
    except FileNotFoundError:
        os.chdir("/")


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *arguments]


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python does not import from the working directory; absolute paths stay."""
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]  # noqa: PTH117
    isolated = {**environment, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(entries)}
    if not entries:
        del isolated["PYTHONPATH"]
    return isolated

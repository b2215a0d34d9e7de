"""How this program's processes are started: with standard streams, and without modules of the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def open_standard_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed on the null device.

    Without this, the next file that is opened becomes a standard stream: what a library prints would be written into
    it, and a child process that gets another stream in its place would lose it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 - open as long as the process is
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def leave_working_directory() -> None:
    """Take off `sys.path` what `python -m` and relative entries of PYTHONPATH put there: the working directory."""
    here = os.path.abspath("")  # noqa: PTH100 - imported before anything that could lie in the working directory
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep) if not sys.flags.ignore_environment else []
    for entry in entries:
        absolute = os.path.abspath(entry)  # noqa: PTH100 - see above
        if not os.path.isabs(entry) and absolute in sys.path:  # noqa: PTH117
            sys.path.remove(absolute)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of the package's modules, with `isolated` as its environment."""
    return [sys.executable, "-P", "-m", module, *arguments]


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Python imports nothing from the working directory; absolute paths stay."""
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]  # noqa: PTH117
    isolated = {**environment, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(entries)}
    if not entries:
        del isolated["PYTHONPATH"]
    return isolated

"""Start processes with open standard streams and without importing modules from the working directory.

`python -P isolation.py -m MODULE [ARGUMENTS]` runs a module like `python -m`. Until `sys.path` is clean, only modules
that Python has loaded at its start may be imported here.
"""

from __future__ import annotations

import os
import site
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    """Remove the working directory from `sys.path`, whether `python -m` or an entry of PYTHONPATH added it.

    Other relative entries of PYTHONPATH are removed as well, because their meaning depends on the working directory.
    Modules of this package are found by the path of the package, also if it lies in the working directory.
    """
    try:
        here = os.path.abspath("")  # noqa: PTH100 - pathlib may not be imported before the path is clean
    except FileNotFoundError:  # the directory was deleted, so it has no modules
        return
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    if not sys.flags.ignore_environment:
        left_out = {os.path.abspath(entry) for entry in _python_path(os.environ) if _is_left_out(entry)}  # noqa: PTH100
        left_out.difference_update(site.getsitepackages())
        sys.path[:] = [entry for entry in sys.path if entry not in left_out]


def leave_deleted_directory() -> None:
    """Change to the root folder if the working directory was deleted: torch does not load without one."""
    try:
        os.getcwd()  # noqa: PTH109 - see above
    except FileNotFoundError:
        os.chdir("/")


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this very package, like `python -m`."""
    return [sys.executable, "-P", os.path.abspath(__file__), "-m", module, *arguments]  # noqa: PTH100


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python does not import from the working directory.

    Of PYTHONPATH, absolute entries stay, except those that name the working directory.
    """
    entries = [entry for entry in _python_path(environment) if not _is_left_out(entry)]
    isolated = {**environment, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(entries)}
    if not entries:
        del isolated["PYTHONPATH"]
    return isolated


def _python_path(environment: Mapping[str, str]) -> list[str]:
    paths = environment.get("PYTHONPATH", "")
    return paths.split(os.pathsep) if paths else []


def _is_left_out(entry: str) -> bool:
    """Return whether an entry of PYTHONPATH is relative, or names the working directory, if only by a link."""
    try:
        return not os.path.isabs(entry) or os.path.samefile(entry, os.curdir)  # noqa: PTH117, PTH121
    except OSError:  # one of the two does not exist
        return False


def _run_module() -> None:
    """Run the module that the command line names."""
    package_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    sys.path.insert(0, package_folder)
    __import__("distprompt_tui")  # its modules are found without the folder from now on
    sys.path.remove(package_folder)
    leave_working_directory()
    import runpy

    del sys.argv[:2]  # this file and -m
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_module()

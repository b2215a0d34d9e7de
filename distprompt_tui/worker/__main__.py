"""`python -m distprompt_tui.worker RUN`: prepare, load, search, record. Started by `runs.process.start_worker`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter

HEARTBEAT_SECONDS = 2.0
NICENESS = 5
"""The viewer beside the worker answers keys first."""


class Terminated(BaseException):
    """TERM came before the search could listen to it."""


def main() -> int:
    """Run the whole of one run directory; the exit code says whether it went well."""
    run = RunDirectory(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, _raise_terminated)
    os.nice(NICENESS)
    events = EventWriter(run.events)
    threading.Thread(target=_beat, args=(run.heartbeat,), daemon=True).start()
    try:
        from distprompt_tui.worker.session import run_session  # torch: seconds; the heart already beats

        run_session(run, events)
    except Terminated:
        events.write("ended", reason="stopped", result=None)
    except DistPromptError as error:
        events.write("ended", reason="error", error=str(error), exit_code=error.exit_code, result=None)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        events.write("ended", reason="error", error=f"{type(error).__name__}: {error} (see {run.log})", result=None)
        return 1
    return 0


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _beat(heartbeat: Path) -> None:
    while True:
        heartbeat.touch(mode=0o600)
        threading.Event().wait(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

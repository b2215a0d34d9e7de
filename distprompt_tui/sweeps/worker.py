"""`python -m distprompt_tui.sweeps.worker THREADS`: carries tasks out, one JSON object a line, until nobody is left.

    a task                                               → {"outcomes": […], "seconds": …, "peak_bytes": …}
                                                           or {"error": "one sentence"}

It writes nothing to the sweep's folder, and ends at once when its standard input does: nothing is lost by that.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading

from distprompt_tui.runs.isolation import open_standard_streams


def main() -> None:
    """Answer tasks in the order in which they come."""
    open_standard_streams()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()

    from distprompt_tui.sweeps.execute import answer_task  # torch: seconds, in which the other end may go already

    while True:
        print(
            json.dumps(answer_task(json.loads(tasks.get()), int(sys.argv[1])), allow_nan=False),
            file=answers,
            flush=True,
        )


def _read(tasks: queue.SimpleQueue[str]) -> None:
    """Pass tasks on; where the other end is gone, whatever is being done is for nobody."""
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()

"""`python -m distprompt_tui.sweeps.worker THREADS`: runs tasks from standard input, one JSON object per line.

It answers each task with {"outcomes": […], "seconds": …, "peak_bytes": …} or {"error": "one sentence"}. It writes
nothing to the sweep directory, and exits at once when its standard input is closed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading

from distprompt_tui.runs.isolation import leave_deleted_directory, open_standard_streams


def main() -> None:
    open_standard_streams()
    leave_deleted_directory()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the output of libraries must not mix with the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()

    from distprompt_tui.sweeps.execute import answer_task  # imports torch for seconds, in which the input may close

    while True:
        answer = answer_task(json.loads(tasks.get()), int(sys.argv[1]))
        print(json.dumps(answer, allow_nan=False), file=answers, flush=True)


def _read(tasks: queue.SimpleQueue[str]) -> None:
    """Enqueue tasks; exit at the end of the input, because nobody reads the answers."""
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()

"""`python -m distprompt_tui.probe MODEL`: answers a viewer's questions about a model, one JSON object a line.

The app keeps one of these beside it: it asks before anything runs, for what only a loaded model can tell.

    {"id": 1, "ask": "target", "target": {…}}        → entropy, uniform, recipe, top tokens, masses by rank
    {"id": 2, "ask": "bounds", "target": {…}}        → the floor, then the head limit too
    {"id": 3, "ask": "distribution", "text": "…"}    → entropy and top tokens after a text

Each question's last answer has `"done": true`; what goes wrong is answered by `error`, one sentence. The process ends
when its standard input does.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from distprompt_tui import spec
from distprompt_tui.errors import DistPromptError, UsageError
from distprompt_tui.targets.summary import describe
from distprompt_tui.vocabulary import Vocabulary

Answer = dict[str, Any]


def main() -> int:
    """Load the model, then answer until nobody asks any more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the answers

    def say(**fields: Any) -> None:
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False), file=answers, flush=True)

    from distprompt_tui.models.source import ModelSource, load_by_name

    settings = spec.Model(name=sys.argv[1])
    report = lambda text, fraction: say(progress=text, fraction=fraction)  # noqa: E731
    try:
        model, _ = load_by_name(settings, report)
    except DistPromptError as error:
        say(error=str(error), done=True)
        return error.exit_code
    source = ModelSource(model, settings, report)
    say(ready=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            for answer in _answers(question, source):
                say(id=question["id"], **answer)
        except DistPromptError as error:
            say(id=question["id"], error=str(error), done=True)
    return 0


def _answers(question: dict[str, Any], source: Any) -> Iterator[Answer]:
    vocabulary = source.model.vocabulary
    match question["ask"]:
        case "target":
            target = _target(question, source)
            numbers = {"entropy": target.entropy, "uniform": _log_count(vocabulary) - target.entropy}
            yield numbers | {"recipe": target.recipe, "done": True} | describe(target.probabilities, vocabulary)
        case "bounds":
            import torch

            from distprompt_tui.bounds import solve_bounds

            target = _target(question, source)
            for bounds in solve_bounds(source.model.head, torch.tensor(target.probabilities)):
                yield asdict(bounds)
            yield {"done": True}
        case "distribution":
            q = source.next_token_probabilities(question["text"])
            masses = q[q > 0]
            yield {"entropy": float(-(masses * np.log(masses)).sum()), "done": True} | describe(q, vocabulary)
        case other:
            raise UsageError(f"no such question: {other}")


def _target(question: dict[str, Any], source: Any) -> Any:
    from distprompt_tui.targets import make_target

    try:
        wanted: spec.Target = TypeAdapter(spec.Target).validate_python(question["target"])
    except ValidationError as error:
        raise UsageError(error.errors(include_url=False)[0]["msg"]) from error
    return make_target(wanted, source.model.vocabulary, source)


def _log_count(vocabulary: Vocabulary) -> float:
    return math.log(int(vocabulary.allowed.sum()))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m distprompt_tui.worker.model_server MODEL [RUN]`: answer the app's questions about a loaded model.

Questions and answers are JSON objects, one a line. With a run's folder, the model must be the one that the run
recorded. If a question names a `model`, and perhaps a `run`, and the loaded model is another one, the answer is
`"other_model": true`; the app then starts another server.

    {"id": 1, "ask": "target", "target": {…}}        → entropy, uniform_kl, recipe, top tokens, probabilities by rank
    {"id": 2, "ask": "bounds", "target": {…}}        → the floor, then also the head optimum; before each, while it is
                                                       computed, `refining` (its name) and `so_far` (its best value)
    {"id": 3, "ask": "distribution", "text": "…"}    → entropy and top tokens after a text
    {"id": 4, "ask": "instead", "run": "…", "text": "…"}   → a snapshot, as in events, with a text as the prompt
    {"id": 5, "ask": "influence", "run": "…", "token": 7, "ids": […]}   → contribution of each position to a token
    {"id": 6, "ask": "continue", "run": "…", "ids": […], "path": […], "include": […]}   → tokens after prompt and path

`ids` are the prompt's; null is the run's best soft prompt.

The last answer to a question has `"done": true`. An answer with `error` reports a failure. `{"cancel": 2}` ends the
computation of bounds early. The process ends at the end of its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from distprompt_tui.core.config import spec, target_specs
from distprompt_tui.core.config.dtypes import Dtype
from distprompt_tui.core.errors import DistPromptError, UsageError
from distprompt_tui.core.storage.decode import read_field
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.models.fingerprint import ModelRecord, record_model
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import as_fields
from distprompt_tui.runs.inputs import read_inputs, read_run_target
from distprompt_tui.runs.isolation import leave_deleted_directory, open_standard_streams
from distprompt_tui.runs.process import worker_pid
from distprompt_tui.runs.schema import Snapshot
from distprompt_tui.targets.description import describe
from distprompt_tui.targets.entropy import entropy
from distprompt_tui.worker.question_queue import Cancelled, QuestionQueue

Answer = dict[str, Any]


def main() -> int:
    open_standard_streams()
    leave_deleted_directory()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps the output of libraries apart from the answers

    def say(**fields: Any) -> None:
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False), file=answers, flush=True)

    from distprompt_tui.worker.continuation import Continuations
    from distprompt_tui.worker.model_provider import ModelProvider, load_by_name, prepare_as_recorded
    from distprompt_tui.worker.viewer_device import with_room

    report = lambda text, fraction: say(progress=text, fraction=fraction)  # noqa: E731
    try:
        asked, recorded = _asked_model(*sys.argv[1:3])
        folder = prepare_as_recorded(asked, report, recorded)
        settings = with_room(asked, folder, report, is_searching=_is_searching(*sys.argv[2:3]))
        model, _ = load_by_name(settings, report, recorded)
    except DistPromptError as error:
        say(error=str(error), done=True)
        return error.exit_code
    source = ModelProvider(model, settings, report)
    record = record_model(folder)
    continuations = Continuations()
    say(ready=True, device=str(model.device))
    questions = QuestionQueue(sys.stdin)
    for question in questions:
        number = question["id"]
        try:
            is_about = _is_about(question, asked, record)
        except DistPromptError as error:
            say(id=number, error=str(error), done=True)
            continue
        if is_about:
            for answer in answers_or_error(question, source, continuations, partial(_refine, questions, number, say)):
                say(id=number, **answer)
        else:
            say(id=number, other_model=True, done=True)
    return 0


def _refine(questions: QuestionQueue, number: int, say: Callable[..., None], name: str, value: float) -> None:
    """Report the best value of a bound so far, unless the question was cancelled or a report is too recent."""
    questions.refuse_cancelled(number)
    if questions.may_report():
        say(id=number, refining=name, so_far=value)


def answers_or_error(
    question: dict[str, Any], source: Any, continuations: Any, refine: Callable[[str, float], object]
) -> Iterator[Answer]:
    """Answer a question. A failure is the last answer; it includes lack of memory beside a search."""
    from distprompt_tui.models.device import out_of_memory_as

    device = source.model.device
    try:
        with out_of_memory_as(f"there is no memory on {device} for this answer: try again after the search"):
            yield from _answers(question, source, continuations, refine)
    except DistPromptError as error:
        yield {"error": str(error), "done": True}
    except Cancelled:
        yield {"done": True}


def _asked_model(name: str, run: str | None = None) -> tuple[spec.ModelSpec, ModelRecord | None]:
    """Return the model's settings and recorded state, from the run and with the dtype of its search if there is one."""
    if run is None:
        return spec.ModelSpec(name=name), None
    directory = RunDirectory(Path(run))
    inputs = read_inputs(directory)
    settings = directory.read_spec().model
    if inputs is None:
        return settings, None
    dtype = read_field(Dtype, inputs.manifest, "dtype")
    return settings.model_copy(update={"dtype": dtype or settings.dtype}), inputs.model


def _is_searching(run: str | None = None) -> bool:
    return run is not None and worker_pid(RunDirectory(Path(run))) is not None


def _is_about(question: dict[str, Any], settings: spec.ModelSpec, record: ModelRecord) -> bool:
    """Whether a question is about the loaded model: the same settings, and the files that its run recorded."""
    if "model" not in question:
        return True
    asked, recorded = _asked_model(question["model"], question.get("run"))
    is_same = _resolved(asked) == _resolved(settings)
    if not is_same or recorded is None:
        return is_same
    return recorded.files == record.files if recorded.files else recorded.weights in (None, record.weights)


def _resolved(settings: spec.ModelSpec) -> tuple[str, str | None, Any, Any]:
    """Return the name, revision, device and dtype that settings stand for."""
    from distprompt_tui.models.device import choose_device, choose_dtype

    device = choose_device(settings.device)
    return settings.name, settings.revision, device, choose_dtype(settings.dtype, device)


def _answers(
    question: dict[str, Any], source: Any, continuations: Any, refine: Callable[[str, float], object]
) -> Iterator[Answer]:
    vocabulary = source.model.vocabulary
    match question["ask"]:
        case "target":
            target = _target(question, source)
            numbers = {"entropy": target.entropy, "uniform_kl": target.uniform_kl(vocabulary)}
            yield numbers | {"recipe": target.recipe, "done": True} | describe(target.probabilities, vocabulary)
        case "bounds":
            import torch

            from distprompt_tui.bounds.cache import solve_bounds

            target = _target(question, source)
            for bounds in solve_bounds(source.model.head, torch.tensor(target.probabilities), refine):
                yield asdict(bounds)
            yield {"done": True}
        case "distribution":
            q = source.next_token_probabilities(question["text"])
            yield {"entropy": entropy(q), "done": True} | describe(q, vocabulary)
        case "instead":
            yield _instead(RunDirectory(Path(question["run"])), question["text"], source.model) | {"done": True}
        case "influence":
            run = RunDirectory(Path(question["run"]))
            yield {"influence": _influence(run, question["token"], question["ids"], source.model), "done": True}
        case "continue":
            run = RunDirectory(Path(question["run"]))
            prompt = question["ids"]
            answer = _continue(run, prompt, question["path"], question["include"], source.model, continuations)
            yield answer | {"done": True}
        case other:
            raise UsageError(f"unknown question: {other}")


def _instead(run: RunDirectory, text: str, bare: Any) -> Answer:
    """Compare the model after a text, in place of the run's prompt, with the run's target."""
    import torch

    from distprompt_tui.core.metrics.divergence import compare
    from distprompt_tui.search.protocol import HardPrompt
    from distprompt_tui.worker.snapshots import prompt_tokens, top_tokens
    from distprompt_tui.worker.surprisal import surprisals

    model = _in_context(run, bare)
    ids = model.encode_prompt(text)
    if not ids:
        raise UsageError("the text is empty: write at least one token")
    model.check_length(len(ids))
    target = torch.tensor(_load_target(run, model.vocab_size))
    with torch.no_grad():
        achieved = compare(target, model.next_token_logits(torch.tensor([ids], device=model.device))[0])
    prompt = HardPrompt(torch.tensor(ids), (0,) * len(ids))
    measured = Snapshot(
        step=0,
        **asdict(achieved.numbers),
        prompt=prompt_tokens(model, prompt, surprisals(model, prompt.ids)),
        tokens=top_tokens(model.vocabulary, target, achieved.q),
    )
    return as_fields(measured)


def _influence(run: RunDirectory, token: int, ids: list[int] | None, bare: Any) -> list[float]:
    import torch

    from distprompt_tui.worker.attribution import influences

    if ids is not None:
        model = _in_context(run, bare)
        model.check_length(len(ids))
        return influences(model, model.embedding(torch.tensor(ids, device=model.device)), token)
    vectors = _best_vectors(run)
    model = _in_context(run, bare)
    model.check_length(len(vectors))
    return influences(model, torch.tensor(vectors, device=model.device), token)


def _continue(
    run: RunDirectory, ids: list[int] | None, path: list[int], include: list[int], bare: Any, continuations: Any
) -> Answer:
    """Describe the distribution after a prompt and a path of tokens. Only without a path, it has the run's target."""
    import torch

    from distprompt_tui.worker.continuation import describe_next, texts_of

    model = _in_context(run, bare)
    prompt = torch.tensor(_best_vectors(run) if ids is None else ids, device=model.device)
    logits = continuations.logits(model, prompt, path)
    target = None if path else torch.tensor(_load_target(run, model.vocab_size))
    return describe_next(model.vocabulary, logits, target, include) | texts_of(model, ids, path)


def _best_vectors(run: RunDirectory) -> Any:
    try:
        return read_prompt(run.best / "prompt.safetensors")
    except UsageError as error:
        raise UsageError("the run has no best prompt yet: it is saved after about a second") from error


def _in_context(run: RunDirectory, bare: Any) -> Any:
    context = run.read_spec().context
    return bare.in_context(context.prefix, context.suffix, context.bos)


def _load_target(run: RunDirectory, size: int) -> Any:
    target = read_run_target(run, read_inputs(run))
    if target.shape != (size,):
        raise UsageError(f"the run's target is over {target.size:,} tokens, the model has {size:,}")
    return target


def _target(question: dict[str, Any], source: Any) -> Any:
    from distprompt_tui.targets import build_target

    try:
        wanted: target_specs.TargetSpec = TypeAdapter(target_specs.TargetSpec).validate_python(question["target"])
    except ValidationError as error:
        raise UsageError(error.errors(include_url=False)[0]["msg"]) from error
    return build_target(wanted, source.model.vocabulary, source)


if __name__ == "__main__":
    sys.exit(main())

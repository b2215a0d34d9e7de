"""The command `bench`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from distprompt_tui.cli.options import JsonOption, say


def bench(
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Approximate time for all models.")] = 240.0,
    models: Annotated[str | None, typer.Option("--models", help="Names of shapes, separated by commas.")] = None,
    device: Annotated[str, typer.Option("--device", help="Such as cuda:1; default: the one of a search.")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the speed of searches on this machine, with random weights in the shapes of known models."""
    from distprompt_tui.core.config.spec import ModelSpec
    from distprompt_tui.core.config.validation import checked
    from distprompt_tui.core.text.bench import bench_lines
    from distprompt_tui.worker.bench import as_fields, run_bench

    checked({"device": device, "dtype": dtype}, ModelSpec)
    names = [name.strip() for name in models.split(",")] if models else []
    found = as_fields(run_bench(names, seconds, device, dtype, lambda text: print(text, file=sys.stderr)))
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    for line in bench_lines(found):
        say(line)

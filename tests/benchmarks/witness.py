"""Measure the witnesses of a shipped sweep: the divergence of the text behind each of its `lm` targets.

python -m tests.benchmarks.witness finding-lm-targets smollm2 FILE --series "lm, own"
python -m tests.benchmarks.witness finding-lm-targets gemma3-270m FILE --quick

The sweep need not be run: a witness depends on the model and the target alone, and is the same for every method.
`--texts` makes the targets from the lines of a file instead of from the sweep's own texts.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.tasks import all_searches
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider, load_by_name
from distprompt_tui.worker.witness import find_witness

COLUMNS = ("series", "entropy_asked", "target_index", "witness_kl", "witness_length", "text")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sweep")
    arguments.add_argument("model")
    arguments.add_argument("csv", type=Path)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--series", help="only this one; those of another model load it")
    arguments.add_argument("--texts", type=Path, help="a text a line, in the order of the targets")
    asked = arguments.parse_args()
    sweep = load_sweep(asked.sweep).with_models([asked.model])
    sweep = sweep.with_quick_overrides() if asked.quick else sweep
    if asked.texts:
        texts = tuple(asked.texts.read_text(encoding="utf-8").splitlines())
        sweep = sweep.model_copy(update={"texts": texts, "text_seed": None})
    searches = [search for search in all_searches(sweep) if search.spec.target.family == "lm"]
    searches = [search for search in searches if asked.series in (None, search.series)]
    model, _ = load_by_name(searches[0].spec.model, ignore_progress)
    source = ModelProvider(model, searches[0].spec.model, ignore_progress)
    places = {(search.series, search.entropy_asked, search.target_index): search for search in searches}
    with asked.csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for place, search in places.items():
            target = build_target(search.spec.target, model.vocabulary, source)
            witness = find_witness(model, search.spec, torch.tensor(target.probabilities))
            if witness is not None:
                writer.writerow([*place, witness.kl, witness.length, witness.text])
                file.flush()


if __name__ == "__main__":
    main()

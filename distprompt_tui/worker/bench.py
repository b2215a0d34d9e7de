"""Speed and memory of searches on this machine, with random weights in the shapes of known models."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils._python_dispatch import TorchDispatchMode

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.device import choose_device, choose_dtype, free_bytes, peak_bytes
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.models.wrap import from_hf
from distprompt_tui.search import make_search
from distprompt_tui.search.protocol import Step

LENGTH = 10  # tokens of the prompts

BATCHED_PROMPTS = 16  # soft prompts that are optimised together
WIDTHS = (32, 128, 512, 2048)  # candidates scored at a time; the fastest width counts

MATRIX_SIZE = {"cpu": 2048}
OTHER_MATRIX_SIZE = 8192
"""Rows of the square matrices whose product gives the peak, by device type: large enough for full speed."""

TRIALS = 5  # measurements of the peak, of which the fastest counts

SPARE = 1.5  # required free memory over that of the weights
WHOLE_STEPS = 30  # soft steps that the time for a model must allow, by the peak; else the model is left out
FILL = 1 << 20  # number of random values of which copies fill the weights: they need not be independent

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "hipLaunchKernel", "cudaGraphLaunch", "hipGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "hipStreamSynchronize")
"""Names of the calls of the runtime that `torch.profiler` records; those of newer versions begin with them."""


@dataclass(frozen=True)
class BenchShape:
    """Sizes of a known model: a type of transformers and the fields of its config."""

    name: str
    kind: str
    fields: dict[str, Any]


def _shape(name: str, kind: str, sizes: Sequence[int], *, tied: bool) -> BenchShape:
    names = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
    )
    return BenchShape(name, kind, dict(zip(names, sizes, strict=True)) | {"tie_word_embeddings": tied})


SHAPES = (
    _shape("SmolLM2-135M", "llama", (49_152, 576, 30, 1_536, 9, 3, 64), tied=True),
    _shape("Qwen3-0.6B", "qwen3", (151_936, 1_024, 28, 3_072, 16, 8, 128), tied=True),
    _shape("Llama-3.2-1B", "llama", (128_256, 2_048, 16, 8_192, 32, 8, 64), tied=True),
    _shape("Llama-3.1-8B", "llama", (128_256, 4_096, 32, 14_336, 32, 8, 128), tied=False),
)


@dataclass(frozen=True)
class Pace:
    """Speed of a search.

    Attributes:
        steps_per_second: updates; of a batch, of all its prompts together.
        positions_per_second: token positions through the backbone; a backward pass counts as two.
        launches_per_step: calls that start work on the device; on the CPU, calls of operators.
        waits_per_step: calls in which the host waits for the device; None on the CPU.
    """

    steps_per_second: float
    positions_per_second: float
    launches_per_step: float
    waits_per_step: float | None


@dataclass(frozen=True)
class ModelBench:
    """Measurements of one shape.

    Attributes:
        weight_bytes: of the model.
        candidates_per_second: prompts of `LENGTH` tokens whose divergence is computed, whole, in batches of `width`.
        positions_per_second: the same in token positions.
        peak_share: floating-point operations of their matrix products, over those of the machine's matrix peak.
        peak_bytes: largest memory of the tensors on a GPU; on the CPU, of the process so far.
    """

    model: str
    weight_bytes: int
    width: int
    candidates_per_second: float
    positions_per_second: float
    peak_share: float
    soft: Pace
    soft_batched: Pace
    hard: Pace
    peak_bytes: int


@dataclass(frozen=True)
class Bench:
    """Measurements of a machine; `left_out` gives the reason by model. `matrix_flops` is the peak, in FLOP/s."""

    device: str
    device_name: str
    dtype: str
    torch: str
    threads: int
    matrix_flops: float
    models: tuple[ModelBench, ...]
    left_out: dict[str, str]


def run_bench(
    names: Sequence[str] = (),
    seconds: float = 300.0,
    device: str = "auto",
    dtype: str = "auto",
    report: Callable[[str], object] = lambda text: None,
    shapes: Sequence[BenchShape] | None = None,
) -> Bench:
    """Measure the speed of searches on models with random weights.

    Args:
        names: of the shapes to measure; all by default.
        seconds: approximate time for all of them.
        device: as in a spec.
        dtype: as in a spec.
        report: receives a text before each part.
        shapes: the known shapes, smallest first; `SHAPES` by default.

    Raises:
        UsageError: a name is unknown.
        ModelError: the device does not exist.
    """
    shapes = SHAPES if shapes is None else shapes
    if unknown := sorted(set(names) - {shape.name for shape in shapes}):
        raise UsageError(f"no shape {unknown[0]!r}; there are: {', '.join(shape.name for shape in shapes)}")
    place = choose_device(device)
    of_weights = choose_dtype(dtype, place)
    report("measuring matrix products")
    peak = matrix_flops(place, of_weights)
    wanted = [shape for shape in shapes if not names or shape.name in names]
    measured: list[ModelBench] = []
    left_out: dict[str, str] = {}
    ends = time.monotonic() + seconds
    for index, shape in enumerate(wanted):
        share = max(ends - time.monotonic(), 0.0) / (len(wanted) - index)
        parameters = parameters_of(shape)
        if why := _why_left_out(parameters, place, of_weights, peak, share):
            left_out[shape.name] = why
            continue
        report(f"measuring {shape.name}")
        measured.append(_measure(shape, place, of_weights, peak, share))
    return Bench(
        device=str(place),
        device_name=torch.cuda.get_device_name(place) if place.type == "cuda" else platform.processor() or place.type,
        dtype=str(of_weights).removeprefix("torch."),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        matrix_flops=peak,
        models=tuple(measured),
        left_out=left_out,
    )


def as_fields(bench: Bench) -> dict[str, Any]:
    return asdict(bench)


def matrix_flops(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measure the floating-point operations per second of a product of two square matrices."""
    size = MATRIX_SIZE.get(device.type, OTHER_MATRIX_SIZE)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    fastest = max(_repeated(lambda: left @ right, device, seconds / TRIALS) for _ in range(TRIALS))
    return fastest * 2 * size**3


def _why_left_out(
    parameters: int, device: torch.device, dtype: torch.dtype, flops: float, seconds: float
) -> str | None:
    needed = SPARE * parameters * dtype.itemsize
    free = free_bytes(device) if device.type != "cpu" else psutil.virtual_memory().available
    if free is not None and free < needed:
        return f"it needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free"
    fastest = 6 * parameters * LENGTH / flops  # a forward pass is 2 operations a weight and position, a backward one 4
    if WHOLE_STEPS * fastest > seconds:
        return f"{WHOLE_STEPS} soft steps take at least {WHOLE_STEPS * fastest:.0f} s, its time is {seconds:.0f} s"
    return None


def _measure(shape: BenchShape, device: torch.device, dtype: torch.dtype, flops: float, seconds: float) -> ModelBench:
    began = time.monotonic()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = random_model(shape, device, dtype)
    each = max((seconds - (time.monotonic() - began)) / 5, 0.0)  # two parts for the candidates, three for the searches
    target = torch.full((model.vocab_size,), 1 / model.vocab_size, dtype=torch.float64)
    per_second, width = _candidates(model, 2 * each)
    paces = [
        _pace(model, target, settings, each)
        for settings in (
            {"method": "soft", "length": LENGTH},
            {"method": "soft", "length": LENGTH, "restarts": BATCHED_PROMPTS},
            {"method": "hard", "length": LENGTH},
        )
    ]
    products = 2 * (LENGTH * _block_parameters(model) + model.head.weight.numel())
    return ModelBench(
        model=shape.name,
        weight_bytes=parameters_of(shape) * dtype.itemsize,
        width=width,
        candidates_per_second=per_second,
        positions_per_second=per_second * LENGTH,
        peak_share=per_second * products / flops,
        soft=paces[0],
        soft_batched=paces[1],
        hard=paces[2],
        peak_bytes=peak_bytes(device),
    )


def random_model(shape: BenchShape, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Return a model with random weights, and a tokenizer of one word for each row of its head."""
    model, words = _random_weights(shape, device, dtype), _words(shape)
    return from_hf(shape.name, model.eval().requires_grad_(False), Vocabulary(words, shape.fields["vocab_size"]))


def write_random_model(shape: BenchShape, folder: Path, dtype: torch.dtype) -> None:
    """Write config, random weights and a tokenizer into a folder."""
    from transformers import PreTrainedTokenizerFast

    _random_weights(shape, torch.device("cpu"), dtype).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=_words(shape), unk_token="w0").save_pretrained(folder)


@torch.no_grad()
def _random_weights(shape: BenchShape, device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    with device, no_init_weights():
        model = AutoModelForCausalLM.from_config(_config(shape), dtype=dtype)
    model.tie_weights()
    noise = 0.02 * torch.randn(FILL, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1)
        else:
            flat = parameter.data.view(-1)
            for start in range(0, len(flat), FILL):
                flat[start : start + FILL] = noise[: len(flat) - start]
    return model


def _words(shape: BenchShape) -> Tokenizer:
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(shape.fields["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return words


def _config(shape: BenchShape) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(shape.kind, max_position_embeddings=256, **shape.fields)


def parameters_of(shape: BenchShape) -> int:
    """Return the number of weights; tied ones count once."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(_config(shape)).parameters())


def _block_parameters(model: LanguageModel) -> int:
    """Return the number of weights of the blocks, which every position passes."""
    embedded = sum(weight.numel() for weight in model.embedder.parameters())
    return sum(weight.numel() for weight in model.backbone.parameters()) - embedded


@torch.no_grad()
def _candidates(model: LanguageModel, seconds: float) -> tuple[float, int]:
    """Return the prompts per second whose logits and logsumexp are computed, and the width of their batches.

    The width grows while that makes it faster and the time allows another measurement.
    """
    generator = torch.Generator().manual_seed(0)
    best, best_width, ends = 0.0, 0, time.perf_counter() + seconds
    for place, width in enumerate(WIDTHS):
        left = ends - time.perf_counter()
        if best and 2 * width / best > left:
            break
        ids = torch.randint(model.vocab_size, (width, LENGTH), generator=generator).to(model.device)
        call = lambda ids=ids: model.next_token_logits(ids).logsumexp(-1)  # noqa: E731
        found = width * _repeated(call, model.device, left / (len(WIDTHS) - place))
        if found <= best:
            break
        best, best_width = found, width
    return best, best_width


def _repeated(call: Callable[[], torch.Tensor], device: torch.device, seconds: float) -> float:
    """Return the calls per second, after one that is not counted; at least one is."""
    float(call().flatten()[0])
    count, began = 0, time.perf_counter()
    while True:
        result = call()
        count += 1
        if device.type == "cpu" or count % 8 == 0 or count == 1:
            float(result.flatten()[0])  # waits for the device
            if (passed := time.perf_counter() - began) >= seconds:
                return count / passed


def _pace(model: LanguageModel, target: torch.Tensor, settings: dict[str, Any], seconds: float) -> Pace:
    """Measure a search for about some seconds, after its first report; then count the calls up to the next one."""
    fields = {"target": {"family": "uniform"}, "search": settings, "budget": {"steps": 1_000_000}}
    steps = make_search(model, target, RunSpec.model_validate(fields), lambda text: None).steps()
    next(steps)
    first = last = next(steps)
    began = time.perf_counter()
    passed = 0.0
    while last is first or passed < seconds:
        last = next(steps)
        passed = time.perf_counter() - began
    launches, waits, newest = _counted(steps, model.device)
    done = newest - last.index
    return Pace(
        steps_per_second=(last.index - first.index) / passed,
        positions_per_second=(last.positions - first.positions) / passed,
        launches_per_step=launches / done,
        waits_per_step=None if waits is None else waits / done,
    )


class _Operators(TorchDispatchMode):
    """Counts the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _counted(steps: Iterator[Step], device: torch.device) -> tuple[int, int | None, int]:
    """Run to the next report; return launches, waits (None on the CPU) and the report's step."""
    if device.type != "cuda":
        with _Operators() as operators:
            step = next(steps)
        return operators.count, None, step.index
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step = next(steps)
    calls = [(event.key, event.count) for event in profiler.key_averages()]
    launches, waits = (sum(count for name, count in calls if name.startswith(names)) for names in (LAUNCHES, WAITS))
    return launches, waits, step.index

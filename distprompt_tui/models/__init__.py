"""Find a model, prepare it once, load it; and the small face of it that searches see."""

import os

# Read when those libraries are imported: nothing is told to anybody about what is loaded here.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

# Read at MKL's first multiplication. "Conditional numerical reproducibility", in its strict mode: without it the last
# digits of a row depend, on some processors, on how many rows are multiplied together. Intel promises the strict mode
# for AVX2 and AVX-512 on its own processors; whether it works on this one, `models.invariance` finds out.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

"""Model discovery, one-time preparation and loading, and the model wrapper that searches use."""

import os

# No telemetry. The libraries read these variables when they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

# MKL's conditional numerical reproducibility in strict mode, read at the first multiplication. Without it, the last
# digits of a row depend on the number of rows on some processors. Intel guarantees the strict mode for AVX2 and AVX-512
# on Intel processors only; `models.batch_invariance` tests it on the present one.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

"""Find a model, prepare it once, load it; and the small face of it that searches see."""

import os

# Read when those libraries are imported: nothing is told to anybody about what is loaded here.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

# Read at MKL's first multiplication: on CPUs, what a prompt gives does not depend on how many others run with it.
os.environ.setdefault("MKL_CBWR", "AUTO")

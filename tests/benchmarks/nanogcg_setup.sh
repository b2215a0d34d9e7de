#!/bin/sh
# Make a virtual environment for nanoGCG: it needs an older transformers than this program.
#
#     sh tests/benchmarks/nanogcg_setup.sh ENVIRONMENT
#
# PYTHON is the interpreter, python3.11 by default.
set -eu
"${PYTHON:-python3.11}" -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check nanogcg==0.3.0 transformers==4.47.1 torch==2.13.0

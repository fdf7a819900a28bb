#!/usr/bin/env bash
# All that is to be measured on a machine with a GPU, in at most ten minutes, into one JSON file.
#   tests/benchmarks/gpu.sh prepare .gpu           small inputs (40 MB), made where the data sets are
#   tests/benchmarks/gpu.sh run .gpu               on the machine with the GPU: writes $OUT/gpu.json
#   tests/benchmarks/gpu.sh run .gpu --dry         the same on a CPU, to try the command
# The machine needs Python with the packages of pyproject.toml and pytest. It needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -u -m tests.benchmarks.gpu "$@"

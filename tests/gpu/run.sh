#!/usr/bin/env bash
# All that needs a GPU, in one call: builds PyCUDA where it is missing, tests, measures, and prints the figures as JSON.
#     tests/gpu/run.sh              on this machine's GPU: tests marked gpu, benchmarks/kernels.py --device cuda
#     tests/gpu/run.sh --standin    without a GPU: the same tests on a stand-in for libcuda (needs g++ and the toolkit's
#                                   headers); what it computes is checked, how fast it is means nothing
# PYTHON names the interpreter; it is .venv's otherwise. FIGURES names the file that the JSON goes to, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
fi
case $python in /*) ;; */*) python=$PWD/$python ;; esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

if [ "${1:-}" = --standin ]; then
    shift
    tests/gpu/standin/build.sh "$folder"
    tests/gpu/build_pycuda.sh "$python" "$folder"
    tests/gpu/standin/build.sh "$folder" "$python"
    export EDGE_PIGMENT_STANDIN=$folder
    "$python" -m pytest -q tests/gpu "$@"
    EDGE_PIGMENT_STANDIN_MODULES=$folder EDGE_PIGMENT_KERNELS=edge_pigment/physics/kernels LD_LIBRARY_PATH=$folder \
        "$python" benchmarks/kernels.py --device cuda
    exit
fi

tests/gpu/build_pycuda.sh "$python"
export EDGE_PIGMENT_GPU_REQUIRED=1
"$python" -m pytest -q -m gpu tests/gpu "$@"
figures=${FIGURES:-$folder/figures.json}
"$python" benchmarks/kernels.py --device cuda --json "$figures" >&2
cat "$figures"

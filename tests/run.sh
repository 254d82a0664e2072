#!/usr/bin/env bash
# Installs everything that the tests need into .venv, then lints, type-checks and tests.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[workshop,test,dev]'
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/python -m pytest -m "not slow and not gpu and not trt" "$@"
# PyCUDA has no wheels, and building it takes longer than all the tests: they run on the stand-in where it is built
if .venv/bin/python -c "import pycuda" 2>/dev/null; then PYTHON=.venv/bin/python tests/gpu/run.sh --standin; fi

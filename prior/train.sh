#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; some 80 minutes on two cores.
#
# Seeded and resumable; the defaults are the shipped prior's settings.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
"$python" -m edge_pigment_prior train "$data" --run "$runs/prior" \
    --only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k

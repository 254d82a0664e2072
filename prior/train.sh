#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; about 1.5 hours on two cores.
#
# Two runs, seeded and resumable. In the first, which was stopped on the way, the floor under what is told of MD was the
# same everywhere; the second starts from its weights, with the floor where it helps a lesion.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
scans=(--only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k)
"$python" -m edge_pigment_prior train "$data" --run "$runs/first" "${scans[@]}" --steps 16000 --until 9500 \
    --unknown-md 0.25 --even-floor
"$python" -m edge_pigment_prior train "$data" --run "$runs/prior" "${scans[@]}" --start "$runs/first" --steps 9500 \
    --anisotropic 2.7 --unknown-md 0.27

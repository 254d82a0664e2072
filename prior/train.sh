#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; about 1.5 hours on two cores.
#
# Two runs, one after the other, both seeded and resumable: the second starts from the first's weights and sees more
# lesions. White matter weighs less in it than in the first, which had made the FA of grey matter too high.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
scans=(--only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k)
"$python" -m edge_pigment_prior train "$data" --run "$runs/first" "${scans[@]}" --steps 18000 --until 6900
"$python" -m edge_pigment_prior train "$data" --run "$runs/prior" "${scans[@]}" --start "$runs/first" \
    --steps 12000 --lesions 0.7 --lesion-weight 4 --anisotropic 2.5

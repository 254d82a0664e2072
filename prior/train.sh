#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; about 1.5 hours on two cores.
#
# Three runs, seeded and resumable, each of which starts from the weights of the one before. The second sees more lesions,
# and white matter weighs less in it than in the first, which had made the FA of grey matter too high. The third is short:
# the prior learns to live with never telling MD better than to 25 %, which leaves lesions their contrast.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
scans=(--only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k)
"$python" -m edge_pigment_prior train "$data" --run "$runs/first" "${scans[@]}" --steps 18000 --until 6900
lesions=(--lesions 0.7 --lesion-weight 4 --anisotropic 2.5)
"$python" -m edge_pigment_prior train "$data" --run "$runs/second" "${scans[@]}" --start "$runs/first" \
    --steps 12000 "${lesions[@]}"
"$python" -m edge_pigment_prior train "$data" --run "$runs/prior" "${scans[@]}" --start "$runs/second" \
    --steps 1500 --learning-rate 5e-4 "${lesions[@]}" --unknown-md 0.25

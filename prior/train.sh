#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; some 145 minutes on two cores.
#
# Seeded and resumable. The second run goes on from the first one's weights with other patches, and white matter weighs
# a little more. Then a bundle, and with its maps the test for altered tissue, which the final export takes in.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
scans=(--only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k)
"$python" -m edge_pigment_prior train "$data" --run "$runs/first" "${scans[@]}"
"$python" -m edge_pigment_prior train "$data" --run "$runs/second" "${scans[@]}" \
    --start "$runs/first" --steps 13500 --anisotropic 2.9 --seed 1
bundle=("$runs/second" --earlier "$runs/first" --data "$data")
"$python" -m edge_pigment_export "${bundle[@]}" -o "$runs/bundle"
"$python" -m edge_pigment_prior alterations "$data" --run "$runs/second" --bundle "$runs/bundle" "${scans[@]}" \
    --output "$runs/alteration.json"
"$python" -m edge_pigment_export "${bundle[@]}" -o "$runs/bundle" --alteration "$runs/alteration.json"

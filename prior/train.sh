#!/usr/bin/env bash
# Learns the shipped prior again: bash prior/train.sh FOLDER_OF_SCANS [FOLDER_OF_RUNS]; some 205 minutes on two cores.
#
# Seeded and resumable. The second and the third run go on from the weights of the one before with other patches, and
# white matter weighs a little more each time. The third says what it knows of MD without a floor: at run time the prior
# steps back where it is contradicted. Then a bundle, and with its maps the test for altered tissue, which the final
# export takes in.
set -euo pipefail
data=$1
runs=${2:-runs}
python=${PYTHON:-python}
scans=(--only sherbrooke --only prisma01 --only prisma02 --only nottingham --only prisma03_acq-b1k)
"$python" -m edge_pigment_prior train "$data" --run "$runs/first" "${scans[@]}"
"$python" -m edge_pigment_prior train "$data" --run "$runs/second" "${scans[@]}" \
    --start "$runs/first" --steps 13500 --anisotropic 2.9 --seed 1
"$python" -m edge_pigment_prior train "$data" --run "$runs/third" "${scans[@]}" \
    --start "$runs/second" --steps 4200 --learning-rate 2e-3 --no-bf16 --unknown-md 0 --anisotropic 3.1 --seed 2
bundle=("$runs/third" --earlier "$runs/first" --earlier "$runs/second" --data "$data")
"$python" -m edge_pigment_export "${bundle[@]}" -o "$runs/bundle"
"$python" -m edge_pigment_prior alterations "$data" --run "$runs/third" --bundle "$runs/bundle" "${scans[@]}" \
    --output "$runs/alteration.json"
"$python" -m edge_pigment_export "${bundle[@]}" -o "$runs/bundle" --alteration "$runs/alteration.json"

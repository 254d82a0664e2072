#!/usr/bin/env bash
# Builds PyCUDA, which has no wheels, for the Python that is given, and installs it there:
#     tests/gpu/build_pycuda.sh PYTHON [STANDIN_FOLDER]
# A plain `pip install pycuda` fails where nvcc is a wrapper script (the toolkit is looked for beside it), where cuRAND
# is not installed, and where there is no libcuda to link with. With STANDIN_FOLDER the stand-in for libcuda that lies
# there is linked with; a PyCUDA so made runs on a real driver too.
set -euo pipefail
case $1 in /*) python=$1 ;; *) python=$PWD/$1 ;; esac
standin=${2:-}
"$python" -c 'import pycuda' 2>/dev/null && exit 0

root=
for candidate in "${CUDA_ROOT:-}" "${CUDA_HOME:-}" "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /)")")")" \
                 /usr/local/cuda; do
    if [ -n "$candidate" ] && [ -f "$candidate/include/cuda.h" ]; then root=$candidate; break; fi
done
[ -n "$root" ] || { echo "build_pycuda: no CUDA toolkit (include/cuda.h): install one, or set CUDA_ROOT" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -n "$standin" ]; then
    library=$standin/libcuda.so.1
else
    library=$(ldconfig -p | awk '/libcuda\.so/ {print $NF; exit}')
    [ -n "$library" ] || library=$(ls /usr/lib/*/nvidia/libcuda.so.1 /usr/lib/*/tegra/libcuda.so.1 2>/dev/null | head -1)
    [ -n "$library" ] || { echo "build_pycuda: no libcuda: install NVIDIA's driver" >&2; exit 1; }
fi
ln -s "$library" "$folder/libcuda.so"

"$python" -m pip install --quiet --disable-pip-version-check 'setuptools>=77' wheel numpy
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    --dest "$folder" 'pycuda>=2025.1'
tar xzf "$folder"/pycuda-*.tar.gz -C "$folder"
cd "$folder"/pycuda-*/
# what is slow about PyCUDA is compiling Boost; no speed of ours depends on it being optimised
"$python" configure.py --cuda-root="$root" --no-cuda-enable-curand --cudadrv-lib-dir="$folder" --cxxflags=-O0,-g0
"$python" -m pip install --quiet --disable-pip-version-check --no-build-isolation .

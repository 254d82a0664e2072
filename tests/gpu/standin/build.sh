#!/usr/bin/env bash
# Compiles the stand-in for libcuda and the kernels into FOLDER; needs g++ and the toolkit's headers, no GPU:
#     tests/gpu/standin/build.sh FOLDER [PYTHON]
# With a PYTHON that has PyCUDA, what else PyCUDA links with is added, as functions that say they are not supported.
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../../../edge_pigment/physics/kernels
include=${CUDA_ROOT:-${CUDA_HOME:-/usr/local/cuda}}/include
mkdir -p "$out"
flags="-std=c++17 -fPIC -shared -Wall -Wno-unknown-pragmas"
for source in "$kernels"/*.cu "$here"/../../../benchmarks/ceilings.cu; do
    name=$(basename "$source" .cu)
    # contraction as in nvcc, and no other liberty
    g++ -x c++ $flags -O2 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math \
        -include "$here/shim.h" "$source" -o "$out/$name.so" &
done
unimplemented=$out/unimplemented.cpp
: > "$unimplemented"
g++ $flags -O1 -I"$include" -Wl,-soname,libcuda.so.1 "$here/driver.cpp" -o "$out/libcuda.so.1" -ldl
if [ -n "${2:-}" ]; then
    driver=$(cd / && "$2" -c 'import importlib.util as u, pathlib as p
print(next(p.Path(u.find_spec("pycuda").origin).parent.glob("_driver*.so")))')
    comm -23 <(nm -D --undefined-only "$driver" | awk '$2 ~ /^cu[A-Z]/ {print $2}' | sort) \
             <(nm -D --defined-only "$out/libcuda.so.1" | awk '{print $3}' | sort) |
        sed 's/.*/extern "C" int &() { return 801; }  \/\/ CUDA_ERROR_NOT_SUPPORTED/' > "$unimplemented"
    g++ $flags -O1 -I"$include" -Wl,-soname,libcuda.so.1 "$here/driver.cpp" "$unimplemented" -o "$out/libcuda.so.1" -ldl
fi
wait

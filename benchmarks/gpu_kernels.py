"""The CUDA kernels' speed beside what the GPU can do at most, and their agreement with float64 in the same run.

    python benchmarks/kernels.py --device cuda --json gpu.json

Ceilings are measured on the same GPU by two kernels (ceilings.cu): a copy, and fused multiply-adds in registers. Times
are medians between CUDA events, the L2 cache flushed before each. Traffic is the least there is, each measurement once;
arithmetic is floating-point instructions, counted by running the kernel on numbers that count (counting.py), against
the fused multiply-adds per second that the GPU was seen to issue. On the stand-in for libcuda results are compared, and
no time is shown.
"""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from counting import count, traffic
from edge_pigment.physics import adaptation, fatbin, moments, summarise
from edge_pigment.physics.cuda import CudaBackend, DeviceScan
from edge_pigment.physics.gpu import Gpu
from edge_pigment.physics.host import HostBackend
from kernels import NU, SCAN_MEASUREMENTS, Array, Voxels, simulate

MEASUREMENTS, VOXELS = 32, 2_000_000
"""For the bars: 70 % of one ceiling."""
SCAN = (128, 128, 60)
DRAWN = 50_000
"""Different voxels; the rest repeats them."""
RISING = 300
"""One voxel in so many of the whole scan rises with b, so that float64 has as much to decide as in a healthy head."""
CHECKED = 2000
ROUNDS = 20
FLUSH = 512 * 2**20
"""Bytes written before each time is taken: more than any L2, and long enough that the launch is queued by then."""
BAR_MS = 15.0
TOLERANCE = 1e-4


def repeated(v: Voxels, voxels: int, empty: Callable[[tuple[int, ...]], Array]) -> Voxels:
    """The voxels over and over, in memory from `empty`."""

    def tiled(a: Array) -> Array:
        out = empty((*a.shape[:-1], voxels))
        for first in range(0, voxels, a.shape[-1]):
            out[..., first : first + a.shape[-1]] = a[..., : voxels - first]
        return out

    return Voxels(
        *[
            a if name in ("b", "bvecs") else tiled(a)
            for name, a in zip(Voxels.__annotations__, vars(v).values(), strict=True)
        ]
    )


class Clock:
    """Milliseconds of what is started on the GPU's stream: the median of some rounds, from a cold L2."""

    def __init__(self, gpu: Gpu, flush: int, rounds: int) -> None:
        self.gpu, self.rounds, self._size = gpu, rounds, flush
        with gpu.current():
            self._memory = gpu.driver.mem_alloc(flush)

    def median(self, start: Callable[[], object]) -> float:
        """Of what `start` puts on the stream."""
        driver, stream, times = self.gpu.driver, self.gpu.stream, []
        with self.gpu.current():
            start()  # the first launch loads the code
            for _ in range(self.rounds):
                first, last = driver.Event(), driver.Event()
                driver.memset_d8_async(self._memory, 0, self._size, stream)
                first.record(stream)
                start()
                last.record(stream)
                last.synchronize()
                times.append(first.time_till(last))
        return float(np.median(times))

    def free(self) -> None:
        """Give the memory that is written for flushing back."""
        with self.gpu.current():
            self._memory.free()


def ceilings(gpu: Gpu, clock: Clock, small: bool) -> dict[str, float]:
    """Bytes per second copied (read and written) and fused multiply-adds per second."""
    nvcc = fatbin.find_nvcc()
    if nvcc is None:
        raise SystemExit("the ceilings' kernels are compiled here, and there is no nvcc: install the CUDA toolkit")
    from pycuda.compiler import compile as nvcc_compile

    source = Path(__file__).with_name("ceilings.cu").read_text()
    copied, rounds, blocks = (2**12, 2, 2) if small else (2**28, 4096, 32)
    with gpu.current():
        cubin = nvcc_compile(source, nvcc=str(nvcc), options=["-O3"], no_extern_c=True, arch=f"sm_{gpu.sm}")
        module = gpu.driver.module_from_buffer(cubin)
        copy, fma = (module.get_function(f"ep_ceilings_{name}") for name in ("copy", "fma"))
        memory = gpu.driver.mem_alloc(2 * copied)
        processors = gpu.driver.Device(0).get_attribute(gpu.driver.device_attribute.MULTIPROCESSOR_COUNT)
        count16, grid = copied // 16, int(processors) * blocks
        task = np.void(struct.pack("@l2P", count16, int(memory), int(memory) + copied))
        copy_ms = clock.median(lambda: copy(task, block=(256, 1, 1), grid=(-(-count16 // 256), 1), stream=gpu.stream))
        work = np.void(struct.pack("@iffP", rounds, 0.999, 0.001, int(memory)))
        fma_ms = clock.median(lambda: fma(work, block=(256, 1, 1), grid=(grid, 1), stream=gpu.stream))
        memory.free()
    return {"bytes_per_s": 2e3 * copied / copy_ms, "fma_per_s": 1e3 * 16.0 * rounds * 256 * grid / fma_ms}


def errors(scan: DeviceScan, v: Voxels) -> dict[str, float]:
    """The largest differences from float64 of the first voxels: θ; the latent; the maps but V1."""
    some = slice(0, min(CHECKED, v.y.shape[1]))
    y, sigma, mean, factor = v.y[:, some].T, v.sigma[some], v.mean[:, some].T, v.factor[:, some].T
    theta = summarise.summarise(y, v.b, v.bvecs, sigma).theta
    posterior = adaptation.adapt(y, v.b, v.bvecs, sigma, mean, factor, NU)
    scalars = slice(0, moments.COLUMNS.index("V1x"))
    maps = moments.moments(posterior.mode, posterior.factor)[:, scalars]
    summary, outcome = scan.summarise(), scan.adapt(v.mean, v.factor, NU)
    return {
        "summarise": float(np.abs(summary.theta.T[some] - theta).max()),
        "adapt": float(np.abs(outcome.mode.T[some] - posterior.mode).max()),
        "moments": float(np.abs(outcome.moments.T[some, scalars] - maps).max()),
    }


def measure_kernels(backend: CudaBackend, clock: Clock, top: dict[str, float], voxels: int) -> list[dict[str, Any]]:
    """Each kernel on a scan that is on the GPU, beside the host's kernel and float64 NumPy."""
    drawn = simulate(min(DRAWN, voxels), MEASUREMENTS)
    v, few = repeated(drawn, voxels, backend.empty), simulate(CHECKED, MEASUREMENTS)
    operations, bytes_of = count(drawn, NU), traffic(MEASUREMENTS)
    rows = []
    with backend.hold(v.y, v.b, v.bvecs, v.sigma) as scan:
        wrong = errors(scan, v)
        starts = {
            "summarise": scan.start_summarise,
            "adapt": lambda: scan.start_adapt(NU),
            "moments": scan.start_moments,
        }
        host, numpy = beside(drawn), numpy_rates(few)
        for name, start in starts.items():
            ms = clock.median(start)
            rate = 1e3 * voxels / ms
            rows.append(
                {
                    "kernel": name,
                    "ms": ms,
                    "voxels_per_s": rate,
                    "bytes_per_s": rate * bytes_of[name],
                    "of_copy": rate * bytes_of[name] / top["bytes_per_s"],
                    "instructions_per_s": rate * operations[name].arithmetic,
                    "of_fma": rate * operations[name].arithmetic / top["fma_per_s"],
                    "host_voxels_per_s": host[name],
                    "numpy_voxels_per_s": numpy[name],
                    "error": wrong[name],
                }
            )
    return rows


def beside(v: Voxels) -> dict[str, float]:
    """Voxels per second of the host's kernels, all threads, wall time."""
    backend = HostBackend()
    posterior = backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU)
    steps: dict[str, Callable[[], object]] = {
        "summarise": lambda: backend.summarise(v.y, v.b, v.bvecs, v.sigma),
        "adapt": lambda: backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU),
        "moments": lambda: backend.moments(posterior.mode, posterior.factor),
    }
    return {name: v.y.shape[1] / best_of(step, 5) for name, step in steps.items()}


def numpy_rates(v: Voxels) -> dict[str, float]:
    """Voxels per second of the float64 references."""
    y, mean, factor = v.y.T, v.mean.T, v.factor.T
    posterior = adaptation.adapt(y, v.b, v.bvecs, v.sigma, mean, factor, NU)
    steps: dict[str, Callable[[], object]] = {
        "summarise": lambda: summarise.summarise(y, v.b, v.bvecs, v.sigma),
        "adapt": lambda: adaptation.adapt(y, v.b, v.bvecs, v.sigma, mean, factor, NU),
        "moments": lambda: moments.moments(posterior.mode, posterior.factor),
    }
    return {name: v.y.shape[1] / best_of(step, 3) for name, step in steps.items()}


def best_of(step: Callable[[], object], times: int) -> float:
    """Seconds, wall time."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return min(found)


def measure_scan(backend: CudaBackend, shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Summarise, adapt, moments of a whole scan, every voxel, from pinned memory and back to it; wall time."""
    voxels = int(np.prod(shape))
    v = repeated(simulate(min(DRAWN, voxels), SCAN_MEASUREMENTS, seed=1), voxels, backend.empty)
    v.y[v.b > 0, ::RISING] = 3 * v.y[:1, ::RISING]

    def whole() -> int:
        with backend.hold(v.y, v.b, v.bvecs, v.sigma) as scan:
            scan.summarise()
            return len(scan.adapt(v.mean, v.factor, NU).exact)

    gpu, prior = backend.gpu, {"mean": v.mean, "factor": v.factor}
    with gpu.current():
        there = {name: gpu.driver.to_device(array) for name, array in prior.items()}

    def in_place() -> None:
        """As with a network on the same GPU: the prior is there, the summary stays."""
        with backend.hold(v.y, v.b, v.bvecs, v.sigma) as scan:
            scan.start_summarise()
            with gpu.current():
                for name, array in prior.items():
                    gpu.driver.memcpy_dtod_async(scan.pointer(name), there[name], array.nbytes, gpu.stream)
            scan.finish_adapt(NU)

    found: dict[str, Any] = {"shape": [*shape, SCAN_MEASUREMENTS], "voxels": voxels, "float64_voxels": whole()}
    for name, run in (("ms", whole), ("ms_prior_on_gpu", in_place)):
        run()
        found[name] = 1e3 * float(np.median([best_of(run, 1) for _ in range(rounds)]))
    with gpu.current():
        for allocation in there.values():
            allocation.free()
    return found


def torch_rate(v: Voxels) -> dict[str, Any] | None:
    """Voxels per second of `summarise` written with PyTorch, float32, on its GPU where it has one; None without it."""
    try:
        import torch
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    y, sigma = (torch.as_tensor(a, device=device) for a in (np.ascontiguousarray(v.y.T), v.sigma[:, None]))
    ones = np.ones((len(v.b), 1))
    X = torch.as_tensor(
        np.concatenate([ones, -v.b[:, None] * summarise.quadratic_form(v.bvecs)], 1), device=device
    ).float()
    mean, precision = (
        torch.as_tensor(a, device=device).float() for a in (summarise.PRIOR_MEAN, summarise.PRIOR_PRECISION)
    )

    def step() -> Any:
        S = torch.sqrt(torch.clamp(y**2 - sigma**2, min=0).maximum((summarise.FLOOR * sigma) ** 2))
        target = torch.log(S)
        for _ in range(2):
            weight = S**4 / ((S**2 + sigma**2) * sigma**2)
            H = torch.einsum("vn,ni,nj->vij", weight, X, X) + torch.diag(precision)
            rhs = torch.einsum("vn,ni,vn->vi", weight, X, target) + precision * mean
            factor = torch.linalg.cholesky(H)
            theta = torch.cholesky_solve(rhs[..., None], factor)[..., 0]
            S = torch.exp(theta @ X.T)
        sd = torch.sqrt(torch.diagonal(torch.cholesky_inverse(factor), dim1=-2, dim2=-1))
        if device == "cuda":
            torch.cuda.synchronize()
        return theta, sd

    expected = summarise.summarise(v.y.T, v.b, v.bvecs, v.sigma).theta
    error = float(np.abs(step()[0].cpu().numpy() - expected).max())
    rate = v.y.shape[1] / best_of(step, 5)
    return {"device": device, "kernel": "summarise", "voxels_per_s": rate, "error": error}


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    top, device = figures["ceilings"], figures["device"]
    copies, issues = top["bytes_per_s"] / 1e9, top["fma_per_s"] / 1e12
    lines = [
        f"{device}: copies {copies:.0f} GB/s, issues {issues:.2f} T fused multiply-adds/s",
        "",
        "| kernel | ms | M voxel/s | GB/s | of copy | T instructions/s | of FMA | host M voxel/s | NumPy | error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in figures["kernels"]:
        moved, issued = r["bytes_per_s"] / 1e9, r["instructions_per_s"] / 1e12
        rate, host, numpy = (r[key] / 1e6 for key in ("voxels_per_s", "host_voxels_per_s", "numpy_voxels_per_s"))
        lines.append(
            f"| {r['kernel']} | {r['ms']:.3f} | {rate:.1f} | {moved:.0f} | {r['of_copy']:.0%} | {issued:.2f} "
            f"| {r['of_fma']:.0%} | {host:.2f} | {numpy:.3f} | {r['error']:.1e} |"
        )
    if torch := figures["torch"]:
        lines += ["", f"summarise in PyTorch ({torch['device']}): {torch['voxels_per_s'] / 1e6:.3f} M voxel/s"]
    scan = figures["scan"]
    size = " x ".join(str(n) for n in scan["shape"])
    lines += [
        "",
        f"{size}, copies and {scan['float64_voxels']} voxels in float64 on the CPU included: {scan['ms']:.1f} ms (bar "
        f"{BAR_MS:.0f} on a data-centre GPU), with the prior made on the GPU {scan['ms_prior_on_gpu']:.1f} ms",
    ]
    return "\n".join(lines)


def main(output: Path | None = None) -> int:
    """Measure, print, and return 1 if a kernel does not agree with float64."""
    backend = CudaBackend()
    standin = backend.gpu.device_name.startswith("stand-in")
    clock = Clock(backend.gpu, 2**12 if standin else FLUSH, 1 if standin else ROUNDS)
    top = ceilings(backend.gpu, clock, standin)
    rows = measure_kernels(backend, clock, top, CHECKED if standin else VOXELS)
    clock.free()
    figures: dict[str, Any] = {
        "device": backend.name,
        "ceilings": top,
        "kernels": rows,
        "scan": measure_scan(backend, (8, 8, 6) if standin else SCAN, 5),
        "torch": torch_rate(simulate(CHECKED if standin else DRAWN, MEASUREMENTS)),
    }
    text = table(figures)
    if standin:
        figures = {"device": backend.name, "errors": {row["kernel"]: row["error"] for row in rows}}
        print("the stand-in computes correctly or not; its times mean nothing and are not shown")
        print("\n".join(f"{kernel}: error {error:.1e}" for kernel, error in figures["errors"].items()))
    else:
        print(text)
    if output:
        output.write_text(json.dumps(figures, indent=1) + "\n")
    return int(max(row["error"] for row in rows) > TOLERANCE)

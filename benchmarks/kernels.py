"""The host kernels' speed, beside NumPy on the same step, and their agreement with float64 in the same run.

    python benchmarks/kernels.py --json kernels.json

Times are CPU seconds of the process (all its threads), so that a table row is what one core does, and another
process on the machine costs less than it would cost wall time. It still costs: caches and, between hardware threads,
arithmetic units are shared. So each figure is the best of several rounds' medians, rounds of the kernel and of NumPy
take turns, and the ratio is the median over the rounds. EDGE_PIGMENT_ISA chooses the instruction set.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.physics import adaptation, moments, summarise, tensor
from edge_pigment.physics.host import HostBackend, Products
from edge_pigment.physics.protocol import tensor_table

Array = np.ndarray[Any, Any]
MEASUREMENTS = 32
"""For the bars; 2 at b=0, 30 at b=1000 s/mm²."""
MODEL_VOXELS, STEP_VOXELS = 24_001, 6_001
"""For the model alone and for the three kernels. The references' temporaries are larger than NumPy's in float32."""
SCAN_VOXELS, SCAN_MEASUREMENTS = 250_000, 33
NU = 5.0
BAR = 500.0
"""M voxel-directions per second and core, for the residual and Jᵀr with AVX2."""
ROUNDS = 21


@dataclass(frozen=True)
class Row:
    """One line of the table; rates per second and core, in millions."""

    step: str
    unit: str
    rate: float
    numpy: str
    numpy_rate: float
    ratio: float
    error: float
    error_of: str


@dataclass(frozen=True)
class Voxels:
    """Simulated white and grey matter with priors about the truth, as the kernels take them, V last."""

    y: Array
    b: Array
    bvecs: Array
    sigma: Array
    z: Array
    mean: Array
    factor: Array


def simulate(voxels: int, measurements: int, seed: int = 0) -> Voxels:
    """SNR 5 to 30; the prior's sd 0.05 to 0.2 for Q, 0.2 for log S0."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((voxels, 1)) < 0.5, [1.6, 0.45, 0.35], [0.95, 0.8, 0.7])
    axes = np.linalg.qr(rng.normal(size=(voxels, 3, 3)))[0]
    D = tensor.from_matrix((axes * values[:, None]) @ np.swapaxes(axes, -1, -2))
    z = tensor.latent(np.exp(rng.normal(0, 0.15, voxels)), D)
    b0s = max(measurements // 16, 1)
    b = np.r_[np.zeros(b0s), np.ones(measurements - b0s)]
    bvecs = rng.normal(size=(measurements, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    sigma = np.exp(-rng.uniform(np.log(5), np.log(30), voxels))
    noise = sigma[:, None] * rng.normal(size=(2, voxels, measurements))
    y = np.hypot(tensor.signal(z, b, bvecs) + noise[0], noise[1])
    sd = np.concatenate([np.full((voxels, 1), 0.2), np.repeat(rng.uniform(0.05, 0.2, (voxels, 1)), 6, axis=1)], axis=1)
    mean = z + sd * rng.normal(size=sd.shape)
    factor = adaptation.pack(np.eye(7) / sd[:, None])
    return Voxels(*[_columns(a) for a in (y, b, bvecs.T, sigma, z, mean, factor)])


def _columns(a: Array) -> Array:
    return np.ascontiguousarray(a.T, np.float32)


class NumPyModel:
    """The residual and its products with the Jacobian in float32 NumPy, by the algebra of the kernels.

    The sums over directions are matrix products, which BLAS does; everything else is vectorised over all voxels.
    """

    def __init__(self, v: Voxels) -> None:
        table = tensor_table(v.b, v.bvecs)
        ones = np.ones((len(v.b), 1), np.float32)
        self.X = np.concatenate([ones, table[:, :6]], axis=1)
        self.XX = np.concatenate([self.X, table[:, 6:]], axis=1)
        self.y, self.s = np.ascontiguousarray(v.y.T), v.sigma[:, None]
        self.z = np.ascontiguousarray(v.z.T)

    def run(self, information: bool) -> tuple[Array, ...]:
        """Σr², Jᵀr in θ and, if wanted, the sums of which JᵀJ is made."""
        theta = np.concatenate([self.z[:, :1], tensor.diffusivity(self.z).astype(np.float32)], axis=1)
        F2 = np.exp(theta @ self.X.T) ** 2
        model = np.sqrt(F2 + self.s**2)
        r = (self.y - model) / self.s
        slope = F2 / (model * self.s)
        out: tuple[Array, ...] = (np.einsum("vn,vn->v", r, r), (slope * r) @ self.X)
        return (*out, slope**2 @ self.XX) if information else out


def take_turns(kernel: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """CPU seconds of either, the best of the rounds' medians, and the median of the rounds' ratios."""
    seconds = np.array([[_median_seconds(kernel), _median_seconds(other)] for _ in range(ROUNDS)])
    best = seconds.min(axis=0)
    return float(best[0]), float(best[1]), float(np.median(seconds[:, 1] / seconds[:, 0]))


def _median_seconds(function: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.02:
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return float(np.median(times))


def _relative(got: Array, expected: Array) -> float:
    """The largest error of a voxel, relative to its largest element (voxels first)."""
    scale = np.abs(expected).reshape(len(expected), -1).max(axis=1)
    return float((np.abs(got - expected).reshape(len(expected), -1).max(axis=1) / scale).max())


def measure_model(backend: HostBackend, v: Voxels) -> list[Row]:
    """The inside of the adaptation's loop alone."""
    model, count = NumPyModel(v), v.y.size / 1e6
    y, b, bvecs, s, z = (np.asarray(a, float) for a in (v.y.T, v.b, v.bvecs, v.sigma[:, None], v.z.T))
    F = tensor.signal(z, b, bvecs)
    m = np.sqrt(F**2 + s**2)
    J = (F**2 / (m * s))[..., None] * tensor.log_jacobian(z, b, bvecs)
    r = (y - m) / s
    summands = np.einsum("vni,vn->vi", np.abs(J), np.abs(r))
    H = adaptation.pack(np.swapaxes(J, -1, -2) @ J)
    got = backend.products(v.y, v.b, v.bvecs, v.sigma, v.z)
    assert got.information is not None
    gradient_error = np.abs(got.gradient.T - np.einsum("vni,vn->vi", J, r)).max(axis=1) / summands.max(axis=1)
    rows = []
    for name, information, error, of in (
        ("residual, Jᵀr", False, float(gradient_error.max()), "Jᵀr / |J|ᵀ|r|"),
        ("residual, Jᵀr, JᵀJ", True, _relative(got.information.T, H), "JᵀJ"),
    ):
        out = got._replace(residual=None, information=got.information if information else None)

        def kernel(out: Products = out) -> object:
            return backend.products(v.y, v.b, v.bvecs, v.sigma, v.z, out)

        def numpy(information: bool = information) -> object:
            return model.run(information)

        ours, theirs, ratio = take_turns(kernel, numpy)
        rows.append(Row(name, "voxel·direction", count / ours, "float32, BLAS", count / theirs, ratio, error, of))
    return rows


def measure_steps(backend: HostBackend, v: Voxels) -> list[Row]:
    """The three kernels beside the float64 references, which are NumPy over all voxels at once."""
    y, sigma, mean, factor = v.y.T, v.sigma, v.mean.T, v.factor.T
    summary = summarise.summarise(y, v.b, v.bvecs, sigma)
    posterior = adaptation.adapt(y, v.b, v.bvecs, sigma, mean, factor, NU)
    mode, precision = _columns(posterior.mode), _columns(posterior.factor)
    expected = moments.moments(mode.T, precision.T)
    got = backend.summarise(v.y, v.b, v.bvecs, v.sigma)
    adapted = backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU)
    scalars = slice(0, moments.COLUMNS.index("V1x"))
    errors = (
        max(_relative(got.theta.T, summary.theta), _relative(got.sd.T, summary.sd)),
        float(np.abs(adapted.mode.T - posterior.mode).max()),
        float(np.abs(backend.moments(mode, precision).T[:, scalars] - expected[:, scalars]).max()),
    )
    runs: tuple[tuple[str, Callable[[], object], Callable[[], object], str], ...] = (
        (
            "summarise",
            lambda: backend.summarise(v.y, v.b, v.bvecs, v.sigma),
            lambda: summarise.summarise(y, v.b, v.bvecs, sigma),
            "θ and sd, relative",
        ),
        (
            "adapt",
            lambda: backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU),
            lambda: adaptation.adapt(y, v.b, v.bvecs, sigma, mean, factor, NU),
            "mode, absolute",
        ),
        (
            "moments",
            lambda: backend.moments(mode, precision),
            lambda: moments.moments(mode.T, precision.T),
            "maps, absolute",
        ),
    )
    rows = []
    for (name, kernel, numpy, of), error in zip(runs, errors, strict=True):
        ours, theirs, ratio = take_turns(kernel, numpy)
        count = v.y.shape[1] / 1e6
        rows.append(Row(name, "voxel", count / ours, "float64 reference", count / theirs, ratio, error, of))
    return rows


def measure_scan() -> tuple[str, dict[str, float]]:
    """Wall seconds of the three kernels for a whole scan, all threads; the best of some."""
    backend, v = HostBackend(), simulate(SCAN_VOXELS, SCAN_MEASUREMENTS, seed=1)
    posterior = backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU)
    steps: dict[str, Callable[[], object]] = {
        "summarise": lambda: backend.summarise(v.y, v.b, v.bvecs, v.sigma),
        "adapt": lambda: backend.adapt(v.y, v.b, v.bvecs, v.sigma, v.mean, v.factor, NU),
        "moments": lambda: backend.moments(posterior.mode, posterior.factor),
    }
    seconds = {}
    for name, step in steps.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        seconds[name] = min(times)
    return backend.name, seconds


def main(
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    scan: Annotated[bool, typer.Option(help="Also time a whole scan, all threads, in wall time.")] = True,
    device: Annotated[str, typer.Option(help="cpu, or cuda: see gpu_kernels.py.")] = "cpu",
) -> None:
    """Measure, print, and fail if a kernel does not agree with float64."""
    if device == "cuda":
        from gpu_kernels import main as measure_gpu

        raise typer.Exit(measure_gpu(output))
    backend = HostBackend(threads=1)
    rows = measure_model(backend, simulate(MODEL_VOXELS, MEASUREMENTS))
    rows += measure_steps(backend, simulate(STEP_VOXELS, MEASUREMENTS))
    print(f"{backend.name}, {MEASUREMENTS} measurements; CPU time, best of {ROUNDS} rounds' medians")
    print(f"{'step':20} {'M/s and core':>13}  {'unit':16} {'NumPy M/s':>10} {'ratio':>7}  {'error':>8}")
    for row in rows:
        print(
            f"{row.step:20} {row.rate:13.2f}  {row.unit:16} {row.numpy_rate:10.3f} {row.ratio:6.1f}x  {row.error:8.1e}"
            f" of {row.error_of}; NumPy: {row.numpy}"
        )
    print(f"bar for residual and Jᵀr: {BAR:.0f} M/s, {'met' if rows[0].rate >= BAR else 'NOT met'} by {backend.name}")
    figures: dict[str, Any] = {"backend": backend.name, "rows": [asdict(row) for row in rows]}
    if scan:
        name, seconds = measure_scan()
        total = sum(seconds.values())
        parts = ", ".join(f"{step} {value:.2f}" for step, value in seconds.items())
        print(f"{SCAN_VOXELS} voxels x {SCAN_MEASUREMENTS}, {name}, wall time: {total:.2f} s ({parts})")
        figures["scan"] = {"backend": name, "voxels": SCAN_VOXELS, "measurements": SCAN_MEASUREMENTS, "s": seconds}
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")
    if max(row.error for row in rows) > 1e-4:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

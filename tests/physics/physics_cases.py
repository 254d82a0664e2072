"""Simulated voxels with priors, for the tests of the physics: tissue-like tensors, evenly spread directions.

And what the kernels' results are judged by, whatever runs them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics import moments, tensor
from edge_pigment.physics.adaptation import Posterior, pack
from edge_pigment.physics.backend import Outcome

NU = 8.0
LATENT = FA = 1e-4
V1_DEGREES = 0.1
"""The bars for a kernel's difference from float64; V1's where FA > 0.1."""
SPOILT = (
    "zeros", "saturated", "flat", "growing", "negative", "next to nothing",
    "unknown", "absurd", "one unknown", "one infinite", "one a spike", "a third lost",
)  # fmt: skip
"""What `spoilt` does to measurements."""


class Case(NamedTuple):
    """y (V, N), b (N,) in ms/µm², bvecs (N, 3), sigma (V,), prior mean (V, 7) and factor (V, 28), the true z (V, 7)."""

    y: NDArray[np.floating]
    b: NDArray[np.floating]
    bvecs: NDArray[np.floating]
    sigma: NDArray[np.floating]
    mean: NDArray[np.floating]
    factor: NDArray[np.floating]
    z: NDArray[np.floating]

    def measured(self) -> tuple[NDArray[np.float32], ...]:
        """y, b, bvecs, sigma as the kernels take them."""
        return columns(self.y), *(np.asarray(a, np.float32) for a in (self.b, self.bvecs, self.sigma))

    def prior(self) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """mean, factor and ν as the kernels take them."""
        return columns(self.mean), columns(self.factor), NU


def columns(voxels_first: ArrayLike) -> NDArray[np.float32]:
    """(V, n) -> (n, V), float32, C-contiguous."""
    return np.ascontiguousarray(np.transpose(voxels_first), np.float32)


def directions(count: int) -> NDArray[np.float64]:
    """Evenly spread over a hemisphere, along a spiral."""
    golden, z = np.pi * (3 - np.sqrt(5)), (np.arange(count) + 0.5) / max(count, 1)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(golden * np.arange(count)), radius * np.sin(golden * np.arange(count)), z], -1)


def protocol(b0s: int, *shells: tuple[float, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """b and bvecs of some b=0 volumes and shells of (b, directions)."""
    b = np.concatenate([np.zeros(b0s)] + [np.full(n, value) for value, n in shells])
    return b, np.concatenate([np.zeros((b0s, 3))] + [directions(n) for _, n in shells])


def rotations(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    Q, R = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    Q = Q * np.sign(np.einsum("vii->vi", R))[:, None]
    return Q * np.linalg.det(Q)[:, None, None]


def tissue(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Latents of white matter, grey matter, CSF and crossings, in random orientations: (V, 7)."""
    kinds = np.array([[1.6, 0.45, 0.35], [0.95, 0.8, 0.7], [2.9, 2.8, 2.7], [1.2, 1.0, 0.3]])
    kind = rng.choice(4, count, p=[0.4, 0.35, 0.15, 0.1])
    values = kinds[kind] * np.exp(rng.normal(0, 0.15, (count, 3)))
    R = rotations(count, rng)
    D = tensor.from_matrix((R * values[:, None]) @ np.swapaxes(R, -1, -2))
    S0 = np.where(kind == 2, 2.0, 1.0) * np.exp(rng.normal(0, 0.15, count))
    return tensor.latent(S0, D)


def rician(signal: NDArray[np.float64], sigma: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    noise = sigma[:, None] * rng.normal(size=(2, *signal.shape))
    return np.hypot(signal + noise[0], noise[1])


def case(
    voxels: int,
    b: NDArray[np.float64],
    bvecs: NDArray[np.float64],
    snr: tuple[float, float] = (5, 30),
    sd_q: tuple[float, float] = (0.05, 0.2),
    sd_log_s0: tuple[float, float] = (0.1, 0.3),
    seed: int = 0,
) -> Case:
    """Voxels with noise, and correlated priors drawn about the truth. Values are exact in float32."""
    rng = np.random.default_rng(seed)
    z = tissue(voxels, rng)
    sigma = np.exp(-rng.uniform(*np.log(snr), voxels))
    y = rician(tensor.signal(z, b, bvecs), sigma, rng)
    sd = np.concatenate([rng.uniform(*sd_log_s0, (voxels, 1)), np.repeat(rng.uniform(*sd_q, (voxels, 1)), 6, 1)], 1)
    mixing = np.eye(7) + 0.3 * rng.normal(size=(voxels, 7, 7))
    covariance = mixing @ np.swapaxes(mixing, -1, -2)
    scale = sd / np.sqrt(np.einsum("vii->vi", covariance))
    covariance = covariance * scale[:, :, None] * scale[:, None]
    mean = z + np.einsum("vij,vj->vi", np.linalg.cholesky(covariance), rng.normal(size=(voxels, 7)))
    factor = pack(np.linalg.cholesky(np.linalg.inv(covariance)))
    return Case(*[np.asarray(a, np.float32).astype(float) for a in (y, b, bvecs, sigma, mean, factor, z)])


def spoilt(kind: str, y: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Measurements (V, N) as no tensor makes them; `kind` is one of SPOILT. The first b=0 volume stays where it can."""
    y, first, weighted = y.copy(), y[:, :1].copy(), np.flatnonzero(b > 0)
    everywhere = {"zeros": 0.0, "saturated": 5.0, "next to nothing": 1e-30, "unknown": np.nan, "absurd": 1e30}
    last = {"one unknown": np.nan, "one infinite": np.inf, "one a spike": 5.0}
    if kind in everywhere:
        y[:] = everywhere[kind]
    elif kind in last:
        y[:, -1] = last[kind]
    elif kind == "a third lost":
        y[:, weighted[::3]] *= 0.1
    else:  # negative eigenvalues of D, but for "flat", and even magnitudes below zero
        y[:, weighted] = {"flat": first, "growing": 3 * first, "negative": -1 + 0 * first}[kind]
    return y


def beyond(mode: ArrayLike, maps: ArrayLike, expected: Posterior) -> dict[str, NDArray[np.floating]]:
    """How far each voxel (V,) is from float64, in units of the bars; mode (7, V), maps (20, V)."""
    exact = moments.moments(expected.mode, expected.factor)
    row = {name: i for i, name in enumerate(moments.COLUMNS)}
    axes = slice(row["V1x"], row["V1z"] + 1)
    mode, maps = np.transpose(mode), np.transpose(maps)
    turned = np.where(exact[:, row["FA"]] > 0.1, angles(maps[:, axes], exact[:, axes]), 0)
    return {
        "latent": np.abs(mode - expected.mode).max(-1) / LATENT,
        "FA": np.abs(maps[:, row["FA"]] - exact[:, row["FA"]]) / FA,
        "V1": turned / V1_DEGREES,
    }


def judge(got: Outcome, expected: Posterior) -> None:
    """The bars, on every voxel."""
    for result in got:
        assert np.isfinite(result).all()
    for name, times in beyond(got.mode, got.moments, expected).items():
        assert times.max(initial=0) < 1, name
    maps = moments.moments(expected.mode, expected.factor)
    row = {name: i for i, name in enumerate(moments.COLUMNS)}
    # MD has no bar. Of a posterior that is nearly as wide as it is large, it is as uncertain as the posterior's width.
    MD_error = np.abs(got.moments[row["MD"]] - maps[:, row["MD"]])
    assert (MD_error < 1e-4 + 0.02 * maps[:, row["MD_sd"]]).all()


def rotate_latent(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (7, 7) matrix that turns z as R turns the tensor."""
    six = np.stack([tensor.from_matrix(R @ tensor.to_matrix(unit) @ R.T) for unit in np.eye(6)], axis=1)
    T = np.eye(7)
    T[1:, 1:] = six
    return T


def angles(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Between axes (V, 3), degrees, accurate near 0."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.abs(np.sum(a * b, axis=-1))))

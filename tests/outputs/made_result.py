"""A result of known content, as `pipeline.run` would return it."""

from types import SimpleNamespace

import numpy as np

from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix

ORIENTATIONS = {
    "LAS": np.diag([-2.0, 2.0, 3.0, 1.0]),
    "RAS": np.diag([2.0, 2.0, 3.0, 1.0]),
    "PSR": np.array([[0, 0, 3.0, -20], [-2.0, 0, 0, 30], [0, 2.0, 0, -10], [0, 0, 0, 1]]),
    "PSL": np.array([[0, 0, -3.0, 20], [-2.0, 0, 0, 30], [0, 2.0, 0, -10], [0, 0, 0, 1]]),
    "oblique": np.array([[-1.97, 0.28, 0.20, 40], [0.31, 1.96, -0.35, -50], [0.10, -0.25, 2.97, -30], [0, 0, 0, 1]]),
}
"""Affines of both signs of the determinant, named after the image axes."""

PROVENANCE = {
    "Bundle": {"Name": "made", "Version": "1"},
    "Protocol": {"Volumes": 7, "Shells": [{"b": 1000.0, "Volumes": 6}], "VoxelSize": [2.0, 2.0, 3.0]},
    "Noise": {"Sigma": np.float32(12.5), "SNRb0": 20.0},
    "Novel": 0.012,
    "Device": {"Kernels": "host", "Network": "CPU"},
    "Seconds": {"total": 1.25},
}


def random_tensors(shape, seed=0):
    """Anisotropic tensors in µm²/ms, order xx yy zz xy xz yz: (*shape, 6)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(*shape, 3, 3))
    D = 0.3 * A @ np.swapaxes(A, -1, -2) + 0.2 * np.eye(3)
    return np.stack([D[..., i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], axis=-1)


def make_result(affine=ORIENTATIONS["LAS"], shape=(12, 14, 10), header=None, warnings=()):
    """Maps of random tensors (image axes) in a box-shaped brain."""
    D = random_tensors(shape)
    values, vectors = np.linalg.eigh(to_matrix(D))
    mask = np.zeros(shape, bool)
    margin = [1 if n > 4 else 0 for n in shape]
    mask[tuple(slice(m, n - m) for m, n in zip(margin, shape, strict=True))] = True
    rng = np.random.default_rng(1)
    maps = {
        "FA": fractional_anisotropy(values),
        "MD": values.mean(-1) * 1e-3,
        "AD": values[..., 2] * 1e-3,
        "RD": values[..., :2].mean(-1) * 1e-3,
        "S0": rng.uniform(50, 1000, shape),
    }
    maps |= {f"{name}_sd": 0.1 * data for name, data in list(maps.items())}
    maps |= {"tensor": D * 1e-3, "V1": vectors[..., 2]}
    maps |= {name: rng.uniform(0, 1, shape) for name in ("V1_sd", "novelty", "datashare", "residual")}
    for name, data in maps.items():
        inside = mask if data.ndim == 3 else mask[..., None]
        maps[name] = np.asfortranarray(np.where(inside, data, 0), np.float32)
    return SimpleNamespace(
        maps=maps, mask=mask, affine=affine, header=header, provenance=PROVENANCE, warnings=tuple(warnings)
    )

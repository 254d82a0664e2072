"""Local changes of diffusion: lesions, and tissue that differs smoothly from that of the training's few heads.

All of it is simulated. Without it the prior takes the diffusivity of healthy adults for a law, and paints it over
what differs; with it the prior must read the surroundings of a voxel from the data.
"""

import numpy as np
import torch
from torch.nn import functional

from edge_pigment.physics.backend import Array

COUNT = (3, 13)
RADIUS = (0.6, 9.0)
"""Half-axes in voxels, log-uniform: single voxels to a third of the patch."""
MD_FACTOR = (0.35, 2.5)
"""Log-uniform; from severe stroke to cysts."""
SHAPE_FACTOR = (0.1, 1.2)
"""Of the tensor's deviation from a sphere."""
EDGE = (0.05, 0.6)
"""Width of the edge over the radius."""
WATER_SD = 0.2
"""Of the change of log S0."""
HAEMORRHAGE = 0.15
DROPOUT = (0.3, 2.0)
"""Fall of log S0 in the haemorrhage-like part of lesions."""
FIELDS = 0.4
"""Part of patches whose diffusivity and shape differ smoothly: age, temperature, diffusion time, oedema."""
FIELD_SD = 0.25
"""Of the logarithms of the factors of MD and of the deviation from a sphere."""
FIELD_GRID = (2, 20)
"""Random values along a patch's side, interpolated between."""
FLUID = 0.5
"""Part of patches in which what diffuses fast diffuses faster still: a reference of b = 2000 s/mm² has lost the signal
of water, and finds 1.6 µm²/ms where one of 1000 finds 2.5 (95th percentile of the heads trained on)."""
FLUID_POWER = (0.0, 0.8)
TISSUE_MD = 0.8
"""µm²/ms, of grey and white matter; what is below stays."""
MOST_SHAPE = 1.15
FREE_WATER = 3.0
"""µm²/ms at body temperature; nothing in a head diffuses faster."""


def smooth_field(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """(Z, Y, X) of about zero mean and unit variance, interpolated from a coarse grid of random fineness."""
    n = int(rng.integers(*FIELD_GRID))
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 2, n, n), np.float32))
    field: Array = functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return field * np.float32(1.5)  # linear interpolation takes about half of the variance


def scale(theta: Array, mean: Array, shape: Array) -> None:
    """Scale MD and the deviation from a sphere in place; MD never beyond free water, unless it was before.

    Args:
        theta: (7, Z, Y, X) log S0 and D.
        mean: (Z, Y, X) factor of MD.
        shape: (Z, Y, X) factor of the deviation relative to MD.
    """
    MD = theta[1:4].mean(0)
    scaled = np.minimum(MD * mean, np.maximum(MD, np.float32(FREE_WATER)))
    theta[1:4] -= MD
    theta[1:] *= shape * scaled / np.maximum(MD, np.float32(1e-3))
    theta[1:4] += scaled


def ellipsoid(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """(Z, Y, X) in 0..1: a ball or ellipsoid of random size, place, tilt in plane and softness."""
    Z, Y, X = shape
    z, y, x = np.meshgrid(np.arange(Z) - Z // 2, np.arange(Y), np.arange(X), indexing="ij")
    size = np.exp(rng.uniform(*np.log(RADIUS)))
    radius = size * np.exp(rng.normal(0, 0.3, 3))
    centre = np.array([rng.uniform(-radius[0], radius[0]), *rng.uniform(0, (Y, X))])
    turn = rng.uniform(0, np.pi)
    dy, dx = y - centre[1], x - centre[2]
    along, across = np.cos(turn) * dy + np.sin(turn) * dx, np.cos(turn) * dx - np.sin(turn) * dy
    r = np.sqrt(((z - centre[0]) / radius[0]) ** 2 + (along / radius[1]) ** 2 + (across / radius[2]) ** 2)
    return np.clip((1 - r) / rng.uniform(*EDGE) + 0.5, 0, 1).astype(np.float32)


def insert(theta: Array, rng: np.random.Generator, lesions: float, lesion_weight: float) -> Array:
    """Change a patch in place, or leave it.

    Args:
        theta: (7, Z, Y, X) log S0 and D in µm²/ms.
        rng: source of chance.
        lesions: part of patches with lesions.
        lesion_weight: of a lesion's voxels in the loss: they are few, and those that matter.

    Returns:
        (Z, Y, X) weight of each voxel in the loss.
    """
    grid = (theta.shape[1], theta.shape[2], theta.shape[3])
    weight = np.ones(grid, np.float32)
    if rng.random() < FLUID:
        faster = np.maximum(theta[1:4].mean(0) / TISSUE_MD, 1) ** rng.uniform(*FLUID_POWER)
        scale(theta, faster.astype(np.float32), np.ones(grid, np.float32))
    if rng.random() < FIELDS:
        mean, shape = (np.exp(np.float32(FIELD_SD) * smooth_field(grid, rng)) for _ in range(2))
        scale(theta, mean, np.minimum(shape, np.float32(MOST_SHAPE)))
    if rng.random() < lesions:
        for _ in range(rng.integers(*COUNT)):
            inside = ellipsoid(grid, rng)
            mean = np.float32(np.exp(rng.uniform(*np.log(MD_FACTOR))))
            scale(theta, 1 + inside * (mean - 1), 1 + inside * np.float32(rng.uniform(*SHAPE_FACTOR) - 1))
            water = -rng.uniform(*DROPOUT) if rng.random() < HAEMORRHAGE else rng.normal(0, WATER_SD)
            theta[0] += inside * np.float32(water)
            weight = np.maximum(weight, 1 + inside * np.float32(lesion_weight - 1))
    return weight

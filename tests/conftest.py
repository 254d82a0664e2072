"""Fixtures that several tests share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.physics import host
from edge_pigment.physics.tensor import quadratic_form

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

DIRECTIONS_6 = np.array([[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0]]) / np.sqrt(2)
"""The classic six of Basser & Pierpaoli 1998."""
AFFINE_RAS = np.array([[2.0, 0, 0, -8], [0, 2, 0, -8], [0, 0, 2, -6], [0, 0, 0, 1]])
"""det > 0: the BIDS/FSL rule negates the first component."""
AFFINE_LAS = AFFINE_RAS * [[-1], [1], [1], [1]]
"""det < 0: directions are used as they are in the file."""


class Head(NamedTuple):
    """A drawn head: S0 (X, Y, Z), D (X, Y, Z, 6) in µm²/ms, the brain, its ventricles, and voxel size in mm."""

    S0: np.ndarray
    D: np.ndarray
    brain: np.ndarray
    ventricles: np.ndarray
    eyes: np.ndarray
    white: np.ndarray
    voxel: float


def draw_head(shape: tuple[int, int, int] = (48, 60, 32), voxel: float = 3.2) -> Head:
    """Scalp, skull, folded cortex, ventricles, eyes; in white matter tracts run round an oblique axis."""
    axes = [(np.arange(n) - (n - 1) / 2) * voxel for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 62) ** 2 + (y / 76) ** 2 + (z / 60) ** 2)
    angle = np.arctan2(y, x)
    fold = 0.03 * np.sin(18 * angle) * np.cos(z / 6)
    brain = radius < 1
    white = radius < 0.78 + fold
    ventricles = ((np.abs(x) - 9) / 5) ** 2 + (y / 25) ** 2 + (z / 12) ** 2 < 1
    scalp = (radius > 1.12) & (radius < 1.2)
    eyes = (np.abs(x) - 30) ** 2 + (y - 82) ** 2 + (z + 28) ** 2 < 11**2
    S0 = np.select([eyes, ventricles, white, brain, scalp], [2.5, 2.2, 0.85, 1.15, 0.35], 0.0)
    S0 = S0 * (1 + 0.25 * y / 76)
    MD = np.select([eyes | ventricles, brain], [3.0, 0.85], 0.5)
    axis = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
    fibre = np.cross(np.stack([x, y, z], -1), axis)
    distance = np.linalg.norm(fibre, axis=-1)
    fibre /= np.maximum(distance, 1e-9)[..., None]
    height = np.stack([x, y, z], -1) @ axis
    tract = (np.floor(distance / 10) + np.floor(height / 10)) % 2 == 0
    anisotropy = np.where(white & ~ventricles & tract, 1.0, 0.0)
    a, b, c = np.moveaxis(fibre, -1, 0)
    outer = np.stack([a * a - 1 / 3, b * b - 1 / 3, c * c - 1 / 3, a * b, a * c, b * c], -1)
    D = MD[..., None] * np.array([1, 1, 1, 0, 0, 0]) + anisotropy[..., None] * outer
    return Head(S0, D, brain, ventricles, eyes, white & ~ventricles, voxel)


def scan_head(head: Head, bvals: np.ndarray, bvecs: np.ndarray, sigma: float, seed: int = 0) -> Acquisition:
    """A scan of the head with Rician noise; the signal is in thousands, as scanners write it."""
    rng = np.random.default_rng(seed)
    S = head.S0[..., None] * np.exp(-np.asarray(bvals) / 1000 * (head.D @ quadratic_form(bvecs).T))
    noise = sigma * rng.standard_normal((2, *S.shape))
    affine = np.diag([-head.voxel, head.voxel, head.voxel, 1.0])
    return Acquisition(1000 * np.hypot(S + noise[0], noise[1]), GradientTable(bvals, bvecs), affine)


def opening(text: str) -> str:
    """The longest stretch of an error text without a blank to fill in, as a pattern for `match`."""
    return re.escape(max(re.split(r"\{[^}]*\}", text), key=len))


@pytest.fixture(scope="session")
def head() -> Head:
    """The drawn head at 3.2 mm."""
    return draw_head()


@pytest.fixture
def shared_data() -> Path:
    """The folder of real scans beside the repository; without it the test is skipped."""
    if not (SHARED_DATA / "train").is_dir():
        pytest.skip("no real scans: ../shared/data beside the repository is absent")
    return SHARED_DATA


@pytest.fixture
def write_scan(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a small scan (1 b=0, 6 b=1000) with .bval and .bvec and returns its path."""

    def write(
        signal: np.ndarray | None = None,
        bvals: np.ndarray | None = None,
        bvecs: np.ndarray | None = None,
        affine: np.ndarray = AFFINE_LAS,
        name: str = "scan.nii.gz",
    ) -> Path:
        bvals = np.array([0] + [1000] * 6) if bvals is None else bvals
        bvecs = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6]) if bvecs is None else bvecs
        if signal is None:
            rng = np.random.default_rng(0)
            signal = rng.integers(1, 1000, (5, 6, 4, len(bvals)), dtype=np.int16)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(signal, affine), path)
        base = str(path).removesuffix(".gz").removesuffix(".nii")
        np.savetxt(base + ".bval", np.asarray(bvals)[None], fmt="%g")
        np.savetxt(base + ".bvec", np.asarray(bvecs).T, fmt="%.8f")
        return path

    return write


@pytest.fixture(params=host.instruction_sets())
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> host.HostBackend:
    """The host backend in each instruction set that this machine has."""
    monkeypatch.setenv(host.ISA_VARIABLE, request.param)
    return host.HostBackend(threads=2)

"""Fixtures that several tests share."""

import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

DIRECTIONS_6 = np.array([[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0]]) / np.sqrt(2)
"""The classic six of Basser & Pierpaoli 1998."""
AFFINE_RAS = np.array([[2.0, 0, 0, -8], [0, 2, 0, -8], [0, 0, 2, -6], [0, 0, 0, 1]])
"""det > 0: the BIDS/FSL rule negates the first component."""
AFFINE_LAS = AFFINE_RAS * [[-1], [1], [1], [1]]
"""det < 0: directions are used as they are in the file."""


def opening(text: str) -> str:
    """The longest stretch of an error text without a blank to fill in, as a pattern for `match`."""
    return re.escape(max(re.split(r"\{[^}]*\}", text), key=len))


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

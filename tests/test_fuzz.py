"""A few of the spoiled scans of benchmarks/fuzz.py: whatever comes in, what comes out is maps or one line."""

import importlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from conftest import DIRECTIONS_6, draw_head, scan_head

SEED = 7
BVALS = np.array([0] + [1000.0] * 6)
BVECS = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])


@pytest.fixture(scope="module")
def fuzz():
    folder = str(Path(__file__).resolve().parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("fuzz")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def spoil(fuzz, tmp_path_factory):
    """Spoil a tiny scan in the way of this number, run it, and say what came of it."""
    base = tmp_path_factory.mktemp("fuzz")
    acquisition = scan_head(draw_head((20, 24, 10), 8.0), BVALS, BVECS, 0.03)
    bases = []
    for name in ("integers/scan.nii.gz", "floats/scan.nii"):
        path = base / name
        path.parent.mkdir()
        signal = np.round(acquisition.signal).astype(np.int16) if name.startswith("int") else acquisition.signal
        nib.save(nib.Nifti1Image(signal, acquisition.affine), path)
        np.savetxt(path.parent / "scan.bval", BVALS[None], fmt="%g")
        np.savetxt(path.parent / "scan.bvec", BVECS.T, fmt="%.8f")
        bases.append(fuzz.Scan(path))
    with fuzz.quick():
        rights = [fuzz.right_of(scan) for scan in bases]
        yield lambda number: fuzz.fuzz_one(number, SEED, bases, rights, base / "work")


def test_few(spoil, fuzz):
    outcomes = [spoil(number) for number in range(40)]
    assert [outcome for outcome in outcomes if outcome.kind not in fuzz.GOOD] == []
    assert {outcome.kind for outcome in outcomes} >= {"ok", "refused"}
    assert len({outcome.mutation for outcome in outcomes}) > 12


@pytest.mark.slow
def test_many(spoil, fuzz):
    found = [spoil(number) for number in range(40, 640)]
    assert [outcome for outcome in found if outcome.kind not in (*fuzz.GOOD, "nonsense")] == []


def test_what_is_wrong_is_seen(fuzz, tmp_path):
    """The judge itself: each kind of failure is told from what is fine."""
    right = fuzz.Summary(0.3, 1e-3, np.ones((4, 4, 4), bool), frozenset(), "usable")
    assert fuzz.far(right, right) == ""
    assert "FA" in fuzz.far(right._replace(fa=0.36), right)
    assert "MD" in fuzz.far(right._replace(md=1.2e-3), right)
    assert "mask" in fuzz.far(right._replace(mask=np.eye(4, dtype=bool)[None] & right.mask), right)
    assert "FA" in fuzz.far(right._replace(fa=float("nan")), right)
    line = "edge-pigment: error: no.\n"
    assert fuzz.judge(2, line, tmp_path, right, True)[0] == "refused"
    assert fuzz.judge(2, line + line, tmp_path, right, True)[0] == "fault"
    assert fuzz.judge(2, "", tmp_path, right, True)[0] == "fault"
    assert fuzz.judge(1, line, tmp_path, right, True)[0] == "fault"
    assert fuzz.judge(0, "x fault of edge-pigment", tmp_path, right, True)[0] == "fault"

"""The bad input that a user meets first: typed as commands, each answered by one clear line."""

import gzip
import os
import re

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import AFFINE_LAS, DIRECTIONS_6, opening
from edge_pigment import errors as texts
from edge_pigment.cli import app

BVALS = np.array([0] + [1000.0] * 6)
BVECS = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])


def refused(text, scan, output, *options):
    """Check that the answer is one line with this text, that the code is 2, and that nothing was written."""
    folder = scan.parent
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["run", str(scan), "-o", str(output), *map(str, options)])
    lines = [line for line in result.stderr.splitlines() if not line.endswith(" s)")]  # without progress
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("edge-pigment: error: ")
    assert re.search(opening(text), lines[0]), lines[0]
    assert result.stdout == ""
    assert sorted(folder.rglob("*")) == before


def test_no_image(tmp_path):
    refused(texts.IMAGE_MISSING, tmp_path / "scan.nii.gz", tmp_path / "out")


@pytest.mark.parametrize("kind", ["bval", "bvec"])
def test_no_gradient_file(write_scan, tmp_path, kind):
    scan = write_scan()
    (tmp_path / f"scan.{kind}").unlink()
    refused(texts.GRADIENT_FILE_MISSING, scan, tmp_path / "out")


@pytest.mark.parametrize(("bvals", "bvecs"), [(BVALS[:-1], BVECS), (BVALS, BVECS[:-1]), (BVALS[:-1], BVECS[:-1])])
def test_counts_that_differ(write_scan, tmp_path, bvals, bvecs):
    signal = np.random.default_rng(0).integers(1, 1000, (5, 6, 4, 7), dtype=np.int16)
    refused(texts.COUNTS_DIFFER, write_scan(signal, bvals, bvecs), tmp_path / "out")


def test_zero_direction(write_scan, tmp_path):
    bvecs = BVECS.copy()
    bvecs[3] = 0
    refused(texts.BVEC_ZERO, write_scan(bvecs=bvecs), tmp_path / "out")


@pytest.mark.parametrize("length", [0.5, 1.1, 30])
def test_direction_of_another_length(write_scan, tmp_path, length):
    bvecs = BVECS.copy()
    bvecs[3] *= length
    refused(texts.BVEC_NOT_UNIT, write_scan(bvecs=bvecs), tmp_path / "out")


def test_image_of_nan(write_scan, tmp_path):
    refused(texts.IMAGE_WITHOUT_SIGNAL, write_scan(np.full((5, 6, 4, 7), np.nan, np.float32)), tmp_path / "out")


def test_3d_image(write_scan, tmp_path):
    scan = write_scan()
    nib.save(nib.Nifti1Image(np.ones((5, 6, 4), np.int16), AFFINE_LAS), scan)
    refused(texts.IMAGE_NOT_4D, scan, tmp_path / "out")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_gzip(write_scan, tmp_path, kept):
    scan = write_scan(np.random.default_rng(0).integers(1, 1000, (20, 20, 10, 7), dtype=np.int16))
    whole = scan.read_bytes()
    scan.write_bytes(whole[: int(kept * len(whole))])
    refused(texts.IMAGE_TRUNCATED, scan, tmp_path / "out")


@pytest.mark.parametrize("kept", [0, 100])
def test_truncated_within_the_header(write_scan, tmp_path, kept):
    scan = write_scan()
    scan.write_bytes(scan.read_bytes()[:kept])
    refused(texts.IMAGE_NOT_NIFTI, scan, tmp_path / "out")


def test_text_called_nifti(write_scan, tmp_path):
    scan = write_scan()
    scan.write_bytes(gzip.compress(b"hello"))
    refused(texts.IMAGE_NOT_NIFTI, scan, tmp_path / "out")


def test_b_in_ms_per_um2(write_scan, tmp_path):
    refused(texts.BVAL_UNIT, write_scan(bvals=BVALS / 1000), tmp_path / "out")


def test_no_b0(write_scan, tmp_path):
    directions = np.concatenate([DIRECTIONS_6[:1], DIRECTIONS_6])
    refused(texts.NO_B0, write_scan(bvals=BVALS + 300, bvecs=directions), tmp_path / "out")


def test_output_parent_missing(write_scan, tmp_path):
    refused(texts.OUTPUT_PARENT_MISSING, write_scan(), tmp_path / "no" / "out")


def test_output_below_a_file(write_scan, tmp_path):
    (tmp_path / "file").touch()
    refused(texts.OUTPUT_PARENT_MISSING, write_scan(), tmp_path / "file" / "out")


def test_output_is_a_file(write_scan, tmp_path):
    (tmp_path / "file").touch()
    refused(texts.OUTPUT_NOT_A_FOLDER, write_scan(), tmp_path / "file", "--overwrite")


def test_output_not_writable(write_scan, tmp_path, monkeypatch):
    scan = write_scan()
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)  # root may write everywhere
    refused(texts.OUTPUT_NOT_WRITABLE, scan, tmp_path / "out")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no folder that even root cannot write in")
def test_output_not_writable_even_for_root(write_scan):
    refused(texts.OUTPUT_NOT_WRITABLE, write_scan(), "/proc/self/fd/out")


def test_output_exists(write_scan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "edge-pigment"}]}')
    refused(texts.OUTPUT_EXISTS, write_scan(), tmp_path / "out")


def test_output_of_others(write_scan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    refused(texts.OUTPUT_NOT_OURS, write_scan(), tmp_path / "out", "--overwrite")


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_bundle_hash_wrong(write_scan, tmp_path, options):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    (bundle / "SHA256SUMS").write_text(f"{'0' * 64}  manifest.json\n")
    refused(texts.BUNDLE_HASH, write_scan(), tmp_path / "out", "--bundle", bundle, *options)


def test_bundle_missing(write_scan, tmp_path):
    refused(texts.BUNDLE_MISSING, write_scan(), tmp_path / "out", "--bundle", tmp_path / "nowhere")


@pytest.mark.parametrize("sigma", ["0", "-1", "nan", "inf"])
def test_noise_of_no_size(write_scan, tmp_path, sigma):
    refused(texts.SIGMA_NOT_POSITIVE, write_scan(), tmp_path / "out", "--sigma", sigma)


def test_unknown_device(write_scan, tmp_path):
    refused(texts.DEVICE_UNKNOWN, write_scan(), tmp_path / "out", "--device", "abacus")


def test_mask_of_another_scan(write_scan, tmp_path):
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), AFFINE_LAS), mask)
    refused(texts.MASK_SHAPE, write_scan(), tmp_path / "out", "--mask", mask)

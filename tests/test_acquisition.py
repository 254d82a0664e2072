"""Reading a scan: what comes out, what is refused, and what it costs."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from conftest import AFFINE_LAS, AFFINE_RAS, DIRECTIONS_6, opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, find_bids, read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "sub-1.acq_2.nii.gz"])
def test_a_scan_comes_in_memory_as_on_disk(write_scan, name):
    path = write_scan(name=name, affine=AFFINE_RAS)
    scan = read_acquisition(path)
    stored = np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(scan.signal, stored)
    assert scan.signal.dtype == np.float32
    assert scan.signal.T.flags.c_contiguous
    np.testing.assert_allclose(scan.voxel_size, 2)
    np.testing.assert_allclose(scan.gradients.bvecs[1:], DIRECTIONS_6 * [-1, 1, 1], atol=1e-7)
    np.testing.assert_allclose(scan.mean_b0, stored[..., 0])
    np.testing.assert_allclose(scan.mean_dwi, stored[..., 1:].mean(-1), rtol=1e-6)
    assert scan.warnings == ()
    assert scan.path == path


def test_the_scaling_of_the_header_is_applied(write_scan):
    path = write_scan()
    image = nib.load(path)
    stored = np.asarray(image.dataobj)
    scaled = nib.Nifti1Image(stored * 0.37 + 11.0, image.affine)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, path)
    np.testing.assert_allclose(read_acquisition(path).signal, nib.load(path).get_fdata(), rtol=1e-6)


def test_gradient_files_elsewhere(write_scan, tmp_path):
    path = write_scan()
    (tmp_path / "other").mkdir()
    bval = path.with_name("scan.bval").rename(tmp_path / "other/x.bval")
    bvec = path.with_name("scan.bvec").rename(tmp_path / "other/y.bvec")
    with pytest.raises(InputError, match=r"scan\.bval.*--bval"):
        read_acquisition(path)
    with pytest.raises(InputError, match=r"scan\.bvec.*--bvec"):
        read_acquisition(path, bval)
    assert read_acquisition(path, bval, bvec).signal.shape == (5, 6, 4, 7)


SIGNAL = np.random.default_rng(1).uniform(1, 2, (4, 4, 3, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        (SIGNAL[..., 0], texts.IMAGE_NOT_4D),
        (SIGNAL[..., None] * np.ones(2, np.float32), texts.IMAGE_NOT_4D),
        (SIGNAL.astype(np.complex64), texts.IMAGE_NOT_REAL),
        (SIGNAL * 0, texts.IMAGE_WITHOUT_SIGNAL),
        (SIGNAL * np.nan, texts.IMAGE_WITHOUT_SIGNAL),
        (SIGNAL * [1, 1, 1, 0, 1, 1, 1], texts.VOLUMES_WITHOUT_SIGNAL),
        (SIGNAL[..., :6], texts.COUNTS_DIFFER),
    ],
)
def test_an_image_that_is_no_scan_is_refused(write_scan, signal, text):
    with pytest.raises(InputError, match=opening(text)):
        read_acquisition(write_scan(signal))


def test_missing_foreign_and_broken_files_are_refused(write_scan, tmp_path):
    with pytest.raises(InputError, match=opening(texts.IMAGE_MISSING)):
        read_acquisition(tmp_path / "none.nii.gz")
    for name, content in (("text.nii.gz", b"hello"), ("text.nii", b"hello"), ("a.txt", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=opening(texts.IMAGE_NOT_NIFTI)):
            read_acquisition(tmp_path / name)
    path = write_scan()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=opening(texts.IMAGE_TRUNCATED)):
        read_acquisition(path)
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-50]))
    with pytest.raises(InputError, match=opening(texts.IMAGE_TRUNCATED)):
        read_acquisition(path)
    path.write_bytes(whole[:40] + bytes(40) + whole[80:])
    with pytest.raises(InputError):
        read_acquisition(path)
    path.write_bytes(b"")
    with pytest.raises(InputError):
        read_acquisition(path)
    mgh = nib.MGHImage(SIGNAL, np.eye(4))
    nib.save(mgh, tmp_path / "scan.mgz")
    with pytest.raises(InputError, match="MGHImage"):
        read_acquisition(tmp_path / "scan.mgz")


def test_a_singular_affine_is_refused(write_scan):
    path = write_scan()
    image = nib.load(path)
    image.header.set_sform(np.diag([2.0, 2, 0, 1]), 1)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    with pytest.raises(InputError, match=opening(texts.AFFINE_SINGULAR)):
        read_acquisition(path)


def test_a_header_without_orientation_is_warned_of(write_scan):
    path = write_scan()
    image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), None)
    nib.save(image, path)
    (warning,) = read_acquisition(path).warnings
    assert warning == texts.ORIENTATION_UNKNOWN.format(path=path)


def test_values_that_are_not_finite_are_kept_and_told(write_scan):
    signal = SIGNAL.copy()
    signal[0, 0, 0, :3] = np.nan
    scan = read_acquisition(write_scan(signal))
    assert "3 values" in scan.warnings[0]
    np.testing.assert_array_equal(scan.signal, signal)


def test_a_console_sized_scan_is_read_in_little_memory(write_scan):
    n = 33
    signal = np.zeros((128, 128, 60, n), np.int16)
    signal[:64] = 100
    bvecs = np.concatenate([[[0, 0, 0]], np.tile([0, 0, 1], (n - 1, 1))])
    path = write_scan(signal, np.array([0] + [1000] * (n - 1)), bvecs)
    del signal
    tracemalloc.start()
    try:
        read_acquisition(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6  # 65 MB as stored and 130 MB as float32


def test_subset_and_counts():
    table = GradientTable(np.array([0.0] + [1000] * 6), np.concatenate([np.zeros((1, 3)), DIRECTIONS_6]))
    scan = Acquisition(SIGNAL, table, AFFINE_LAS)
    thin = scan.subset([0, 2, 4])
    np.testing.assert_array_equal(thin.signal, SIGNAL[..., [0, 2, 4]])
    np.testing.assert_array_equal(thin.gradients.bvecs, table.bvecs[[0, 2, 4]])
    assert thin.signal.T.flags.c_contiguous
    with pytest.raises(InputError, match=opening(texts.COUNTS_DIFFER)):
        Acquisition(SIGNAL, table.subset([0, 1]), AFFINE_LAS)


def test_bids_finds_scans_of_participants_and_sessions(write_scan, tmp_path):
    for name in (
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-02/ses-a/dwi/sub-02_ses-a_dwi.nii",
        "sub-02/ses-b/dwi/sub-02_ses-b_part-mag_dwi.nii.gz",
        "sub-02/ses-b/dwi/sub-02_ses-b_part-phase_dwi.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
    ):
        write_scan(name=name)
    found = [p.relative_to(tmp_path).parts[0] for p in find_bids(tmp_path)]
    assert found == ["sub-01", "sub-02", "sub-02"]
    assert [p.name for p in find_bids(tmp_path, "sub-02")] == [
        "sub-02_ses-a_dwi.nii",
        "sub-02_ses-b_part-mag_dwi.nii.gz",
    ]
    assert len(find_bids(tmp_path, ["01", "02"])) == 3
    with pytest.raises(InputError, match="no participant 09; it holds: 01, 02, 03"):
        find_bids(tmp_path, "09")
    with pytest.raises(InputError, match="of sub-03"):
        find_bids(tmp_path, "03")
    with pytest.raises(InputError, match=opening(texts.BIDS_NO_SUBJECTS)):
        find_bids(tmp_path / "sub-01")
    with pytest.raises(InputError, match=opening(texts.BIDS_FOLDER_MISSING)):
        find_bids(tmp_path / "nowhere")


def test_gradient_files_are_inherited_in_a_bids_dataset(write_scan, tmp_path):
    path = write_scan(name="set/sub-01/ses-a/dwi/sub-01_ses-a_run-1_dwi.nii.gz")
    base = path.parent / "sub-01_ses-a_run-1_dwi"
    base.with_suffix(".bval").rename(tmp_path / "set/dwi.bval")
    base.with_suffix(".bvec").rename(path.parent / "sub-01_ses-a_dwi.bvec")
    assert read_acquisition(path).signal.shape[3] == 7
    # of another run, and beyond the root of the dataset: not this image's
    (path.parent / "sub-01_ses-a_dwi.bvec").rename(path.parent / "sub-01_ses-a_run-2_dwi.bvec")
    (tmp_path / "dwi.bvec").write_text((path.parent / "sub-01_ses-a_run-2_dwi.bvec").read_text())
    with pytest.raises(InputError, match=r"sub-01_ses-a_run-1_dwi\.bvec"):
        read_acquisition(path)


def test_every_real_scan_is_read(shared_data):
    scans = find_bids(shared_data / "train") + find_bids(shared_data / "validation")
    assert len(scans) >= 16
    for path in scans:
        if path.stat().st_size < 10e6:
            scan = read_acquisition(path)
            assert scan.warnings == ()
            assert 1 <= scan.gradients.is_b0.sum() < len(scan.gradients)


def test_means_are_of_finite_values():
    """One NaN in one volume does not take the voxel out of the mean; where nothing is left, there is none."""
    signal = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    bvals, bvecs = np.array([0.0, 0, 1000, 1000]), np.array([[0.0, 0, 0]] * 2 + [[1, 0, 0], [0, 1, 0]])
    whole = Acquisition(signal, GradientTable(bvals, bvecs), AFFINE_LAS)
    np.testing.assert_array_equal(whole.mean_b0, (signal[..., 0] + signal[..., 1]) / 2)
    spoilt = signal.copy()
    spoilt[0, 0, 0, 0] = np.nan
    spoilt[1, 1, 1, 2:] = (np.inf, np.nan)
    scan = Acquisition(spoilt, GradientTable(bvals, bvecs), AFFINE_LAS)
    assert scan.mean_b0[0, 0, 0] == signal[0, 0, 0, 1]
    assert np.isnan(scan.mean_dwi[1, 1, 1])
    assert np.isfinite(scan.mean_dwi).sum() == scan.mean_dwi.size - 1
    rest = np.ones(signal.shape[:3], bool)
    rest[0, 0, 0] = False
    np.testing.assert_array_equal(scan.mean_b0[rest], whole.mean_b0[rest])

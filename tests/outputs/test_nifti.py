"""The files that the fast NIfTI writer makes, read by nibabel."""

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest

from edge_pigment.outputs.nifti import write_nifti

AFFINE = np.array([[-2.0, 0.1, 0, 40], [0.1, 2, 0, -50], [0, 0, 3.5, -30], [0, 0, 0, 1]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3), (4, 4, 1), (1, 1, 1, 6)])
def test_comes_back_as_it_was(tmp_path, shape, dtype, order):
    data = np.asarray(np.random.default_rng(0).uniform(0, 200, shape).astype(dtype), order=order)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.shape == shape
    assert image.get_data_dtype() == dtype
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(image.header.get_zooms()[:3], np.linalg.norm(AFFINE[:3, :3], axis=0), rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_larger_than_a_chunk(tmp_path):
    data = np.random.default_rng(0).normal(size=(90, 80, 70)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), data)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((1, 1), (1, 1)), ((2, 0), (2, 0)), ((0, 1), (1, 1)), ((0, 0), (2, 0)), ((4, 1), (4, 1))],
)
def test_keeps_what_the_affine_means(tmp_path, codes, expected):
    source = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), AFFINE).header
    source.set_sform(AFFINE, codes[0])
    source.set_qform(AFFINE, codes[1])
    write_nifti(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.float32), AFFINE, source)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == expected
    if expected[1]:
        np.testing.assert_allclose(header.get_qform(), source.get_qform(), atol=1e-4)


def test_takes_nothing_else_from_the_scan(tmp_path):
    source = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), AFFINE).header
    source["db_name"], source["descrip"], source["aux_file"] = b"DOE^JOHN", b"DOE^JOHN", b"DOE^JOHN"
    source["scl_slope"], source["cal_max"] = 3, 7
    write_nifti(tmp_path / "a.nii.gz", np.ones((5, 6, 7), np.float32), AFFINE, source, "FA")
    assert b"DOE" not in gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    image = nib.load(tmp_path / "a.nii.gz")
    assert bytes(image.header["descrip"]).rstrip(b"\0") == b"FA"
    assert image.get_fdata().max() == 1


def test_one_gzip_member_without_a_date(tmp_path):
    data = np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE)
    write_nifti(tmp_path / "b.nii.gz", data, AFFINE)
    packed = (tmp_path / "a.nii.gz").read_bytes()
    assert packed == (tmp_path / "b.nii.gz").read_bytes()
    member = zlib.decompressobj(31)
    member.decompress(packed)
    assert member.eof
    assert member.unused_data == b""


def test_never_writes_over_a_file(tmp_path):
    (tmp_path / "a.nii.gz").write_text("mine")
    with pytest.raises(FileExistsError):
        write_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.float32), AFFINE)


@pytest.mark.parametrize("quaternion", [(0.8, 0.8, 0.8), (np.nan, 0, 0), (np.inf, 0, 0), (1e30, 0, 0)])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (4, 2)])
def test_a_qform_that_is_none(tmp_path, quaternion, codes):
    """Another program rounded the quaternion, or never filled it in; the affine is what counts."""
    source = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), AFFINE).header
    source["sform_code"], source["qform_code"] = codes
    source["quatern_b"], source["quatern_c"], source["quatern_d"] = quaternion
    write_nifti(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.float32), AFFINE, source)
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert np.isfinite(image.header.get_qform()).all()


@pytest.mark.parametrize("edge", [1e-30, 1e-8, 1e8, 1e30])
def test_voxels_of_no_sensible_size(tmp_path, edge):
    affine = np.diag([-edge, edge, edge, 1.0])
    write_nifti(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.float32), affine)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii.gz").affine, affine, rtol=1e-5)

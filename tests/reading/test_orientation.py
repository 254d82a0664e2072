"""Where voxels lie, from headers that contradict themselves."""

import struct

import nibabel as nib
import numpy as np
import pytest

from conftest import AFFINE_LAS, AFFINE_RAS, opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.outputs.nifti import write_nifti
from edge_pigment.watch import Folder

SIGNAL = np.random.default_rng(6).integers(1, 200, (5, 6, 4, 7)).astype(np.int16)
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-2.0, 2.0, 3.0]), [40, -30, 20]
)
QUATERN, SROW, PIXDIM, UNITS = 256, 280, 76, 123


@pytest.fixture
def scan(write_scan):
    """Writes a scan with a sform and a qform, and then a few numbers into its header."""

    def write(*edits, sform=AFFINE_LAS, qform=AFFINE_LAS, codes=(1, 1)):
        path = write_scan(SIGNAL, name="in/scan.nii")
        image = nib.Nifti1Image(SIGNAL, sform)
        image.set_sform(sform, codes[0])
        image.set_qform(qform, codes[1])
        nib.save(image, path)
        raw = bytearray(path.read_bytes())
        for at, code, *values in edits:
            struct.pack_into(f"<{code}", raw, at, *values)
        path.write_bytes(raw)
        return path

    return write


def written_again(scan, tmp_path):
    """The affine and codes of a map of the scan."""
    path = tmp_path / "map.nii.gz"
    write_nifti(path, np.ones(scan.signal.shape[:3], np.float32), scan.affine, scan.header)
    image = nib.load(path)
    path.unlink()
    return image


@pytest.mark.parametrize("excess", [1e-6, 4e-6, 1e-3])
def test_a_quaternion_longer_than_one_by_rounding(scan, tmp_path, excess):
    path = scan((QUATERN, "3f", 0.0, 1 + excess, 0.0))
    read = read_acquisition(path)
    np.testing.assert_array_equal(read.affine, AFFINE_LAS)
    assert all(opening(texts.QFORM_ROUNDED)[:20].replace("\\", "") in warning for warning in read.warnings)
    np.testing.assert_allclose(written_again(read, tmp_path).affine, AFFINE_LAS)
    # by the qform alone, too
    path = scan((QUATERN, "3f", 0.0, 1 + excess, 0.0), codes=(0, 1))
    np.testing.assert_allclose(read_acquisition(path).affine, AFFINE_LAS, atol=1e-2)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ((QUATERN, "3f", 0.0, 1.2, 0.5), "length"),
        ((QUATERN, "3f", np.nan, 1.0, 0.0), "finite"),
        ((QUATERN + 12, "f", np.inf), "finite"),
        ((PIXDIM + 8, "f", np.nan), "voxel size"),
        ((PIXDIM + 8, "f", 0.0), "voxel size"),
    ],
)
def test_an_unusable_qform_is_left_out_beside_a_sform_and_refused_alone(scan, tmp_path, edit, why):
    read = read_acquisition(scan(edit))
    np.testing.assert_array_equal(read.affine, AFFINE_LAS)
    (warning,) = read.warnings
    assert why in warning
    image = written_again(read, tmp_path)
    np.testing.assert_allclose(image.affine, AFFINE_LAS)
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.header.get_zooms(), 2)
    path = scan(edit, codes=(0, 1))
    for reader in (read_acquisition, lambda path: Folder(path.parent).look()):
        with pytest.raises(InputError, match=opening(texts.QFORM_UNUSABLE)):
            reader(path)


@pytest.mark.parametrize(
    "edit",
    [
        (SROW, "f", np.nan),
        (SROW + 12, "f", np.inf),
        (SROW, "4f", 0, 0, 0, 0),
        (SROW, "12f", *[0.0] * 12),
        (SROW + 16, "8f", 0, 2, 2, 0, 0, 0, 0.01, 0),  # the third axis along the second
    ],
)
def test_a_singular_sform_is_refused_in_both(scan, edit):
    path = scan(edit)
    for reader in (read_acquisition, lambda path: Folder(path.parent).look()):
        with pytest.raises(InputError, match=opening(texts.AFFINE_SINGULAR)):
            reader(path)


def test_forms_that_disagree_are_told(scan):
    moved = AFFINE_LAS + np.array([[0, 0, 0, 9], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    read = read_acquisition(scan(qform=moved))
    np.testing.assert_array_equal(read.affine, AFFINE_LAS)
    assert read.warnings == (texts.AFFINES_DIFFER.format(path=read.path, mm=9.0, hand=""),)
    (warning,) = read_acquisition(scan(qform=AFFINE_RAS)).warnings
    assert texts.AFFINES_OTHER_HAND in warning
    close = AFFINE_LAS + np.array([[0, 0, 0, 0.2], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert read_acquisition(scan(qform=close)).warnings == ()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3)])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0)])
def test_metres_and_microns_become_mm(write_scan, tmp_path, version, unit, factor, codes):
    path = write_scan(SIGNAL, name="in/scan.nii")
    affine = OBLIQUE.copy()
    affine[:3] *= factor
    image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(SIGNAL, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header["xyzt_units"] = unit | 8
    nib.save(image, path)
    for read in (read_acquisition(path), Folder(path.parent).look().acquisition):
        np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-4)
        assert any(opening(texts.UNIT_CONVERTED).replace("\\", "")[:10] in warning for warning in read.warnings)
        again = written_again(read, tmp_path)
        np.testing.assert_allclose(again.affine, OBLIQUE, atol=1e-4)
        np.testing.assert_allclose(again.header.get_zooms(), [2, 2, 3], rtol=1e-5)
        if codes[1]:
            np.testing.assert_allclose(again.get_qform(), OBLIQUE, atol=1e-4)


def test_a_unit_that_cannot_be_meant(scan):
    read = read_acquisition(scan((UNITS, "B", 1)))
    np.testing.assert_array_equal(read.affine, AFFINE_LAS)
    assert read.warnings == (texts.UNIT_IMPLAUSIBLE.format(path=read.path, unit="metres", sizes="2000 x 2000 x 2000"),)
    for lost in (1e-3, 1e3):  # the unit was lost
        affine = np.diag([lost, lost, lost, 1.0]) @ AFFINE_LAS
        with pytest.raises(InputError, match=opening(texts.VOXEL_SIZE_IMPLAUSIBLE)):
            read_acquisition(scan(sform=affine, qform=affine))


def test_no_orientation_and_no_voxel_size(scan):
    path = scan(codes=(0, 0))
    read = read_acquisition(path)
    expected = nib.load(path).affine
    np.testing.assert_allclose(read.affine, expected)
    assert not read.oriented
    assert read.warnings == (texts.ORIENTATION_UNKNOWN.format(path=path),)
    assert Folder(path.parent).look().acquisition.warnings == read.warnings
    for size in (0.0, np.nan):
        with pytest.raises(InputError, match=opening(texts.PIXDIM_UNUSABLE)):
            read_acquisition(scan((PIXDIM + 4, "f", size), codes=(0, 0)))


def test_codes_and_signs_that_no_standard_knows(scan, tmp_path):
    read = read_acquisition(scan((254, "h", 77)))  # sform_code
    np.testing.assert_array_equal(read.affine, AFFINE_LAS)
    np.testing.assert_allclose(written_again(read, tmp_path).affine, AFFINE_LAS)
    path = scan((PIXDIM + 4, "f", -2.0), codes=(0, 1))
    np.testing.assert_allclose(read_acquisition(path).affine, AFFINE_LAS, atol=1e-5)


def test_voxel_sizes_that_disagree_are_told(scan):
    read = read_acquisition(scan((PIXDIM + 4, "f", 3.0), codes=(1, 0)))
    np.testing.assert_array_equal(read.voxel_size, 2)
    assert read.warnings == (texts.ZOOMS_DIFFER.format(path=read.path, sform="2 x 2 x 2", pixdim="3 x 2 x 2"),)
    assert read_acquisition(scan((PIXDIM + 4, "f", 2.01), codes=(1, 0))).warnings == ()

"""A mask is laid on the scan by where it lies, or refused."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from conftest import AFFINE_LAS, opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.reading.masks import read_mask

INSIDE = np.random.default_rng(7).random((5, 6, 4)) > 0.5
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ AFFINE_LAS[:3, :3], [4, -3, 2])


@pytest.fixture(params=["straight", "oblique"])
def scan(request, write_scan):
    return read_acquisition(write_scan(affine=AFFINE_LAS if request.param == "straight" else OBLIQUE))


def written(tmp_path, values, affine, name="mask.nii.gz", **codes):
    values = np.asarray(values)
    image = nib.Nifti1Image(values.astype(np.uint8) if values.dtype == bool else values, affine)
    for kind, code in codes.items():
        getattr(image, f"set_{kind}")(affine, code)
    path = tmp_path / name
    nib.save(image, path)
    return path


@pytest.mark.parametrize("axes", ["LAS", "RPS", "RAS", "SAL", "PIR", "AIL"])
def test_axes_in_any_order_and_direction(scan, tmp_path, axes):
    image = nib.Nifti1Image(INSIDE.astype(np.uint8), scan.affine)
    ends = nib.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(scan.affine), ends))
    nib.save(turned, tmp_path / "mask.nii.gz")
    mask, warnings = read_mask(tmp_path / "mask.nii.gz", scan)
    np.testing.assert_array_equal(mask, INSIDE)
    assert len(warnings) == (axes != "LAS")


@pytest.mark.parametrize("kind", ["qform alone", "metres", "pair", "NIfTI-2", "mgz", "4D", "trailing"])
def test_the_same_grid_in_other_words(scan, tmp_path, kind):
    values, affine, name = INSIDE.astype(np.uint8), scan.affine, "mask.nii"
    image = nib.Nifti1Image(values, affine)
    if kind == "qform alone":
        image.set_sform(affine, 0)
        image.set_qform(affine, 1)
    elif kind == "metres":
        image = nib.Nifti1Image(values, np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine)
        image.header["xyzt_units"] = 1
    elif kind == "pair":
        image, name = nib.Nifti1Pair(values, affine), "mask.hdr"
    elif kind == "NIfTI-2":
        image = nib.Nifti2Image(values, affine)
    elif kind == "mgz":
        image, name = nib.MGHImage(values, affine.astype(np.float32)), "mask.mgz"
    else:
        image = nib.Nifti1Image(values[..., None] if kind == "4D" else values[..., None, None], affine)
    nib.save(image, tmp_path / name)
    mask, warnings = read_mask(tmp_path / name, scan)
    np.testing.assert_array_equal(mask, INSIDE)
    assert warnings == ()


def test_half_and_more_is_inside(scan, tmp_path):
    values = np.where(INSIDE, 0.5, 0.49).astype(np.float32)
    values[0, 0, 0], values[1, 0, 0], values[2, 0, 0] = np.nan, np.inf, -3
    expected = INSIDE.copy()
    expected[:3, 0, 0] = False
    np.testing.assert_array_equal(read_mask(written(tmp_path, values, scan.affine), scan)[0], expected)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: a + np.array([[0, 0, 0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), texts.MASK_GRID),
        (lambda a: a + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 60.0], [0, 0, 0, 0]]), texts.MASK_GRID),
        (lambda a: a @ np.diag([2, 2, 2, 1.0]), texts.MASK_GRID),
        (lambda a: a @ np.diag([1.1, 1, 1, 1.0]), texts.MASK_GRID),
        (lambda a: nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2), [0, 0, 0]) @ a, texts.MASK_GRID),
    ],
)
def test_another_grid_of_the_same_shape(scan, tmp_path, change, text):
    with pytest.raises(InputError, match=opening(text)):
        read_mask(written(tmp_path, INSIDE, change(scan.affine)), scan)


def test_hardly_another_grid(scan, tmp_path):
    for shift, count in ((0.01, 0), (0.1, 1)):  # voxels of 2 mm
        affine = scan.affine.copy()
        affine[0, 3] += shift
        mask, warnings = read_mask(written(tmp_path, INSIDE, affine), scan)
        np.testing.assert_array_equal(mask, INSIDE)
        assert len(warnings) == count


def test_what_is_no_mask(scan, tmp_path):
    complex_, rgb = INSIDE.astype(np.complex64), np.zeros(INSIDE.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values, text in (
        (INSIDE[:-1], texts.MASK_SHAPE),
        (np.stack([INSIDE, INSIDE], -1), texts.MASK_VOLUMES),
        (complex_, texts.MASK_NOT_REAL),
        (rgb, texts.MASK_NOT_REAL),
        (INSIDE & False, texts.MASK_EMPTY),
        (np.full(INSIDE.shape, np.nan, np.float32), texts.MASK_EMPTY),
    ):
        with pytest.raises(InputError, match=opening(text)):
            read_mask(written(tmp_path, values, scan.affine), scan)


def test_what_is_no_image(scan, tmp_path):
    path = written(tmp_path, INSIDE, scan.affine)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:60], gzip.compress(gzip.decompress(whole)[:400]), whole[:-9] + b"123456789"):
        for name in ("mask.nii.gz", "mask.nii", "mask.mgz", "mask.png"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=opening(texts.MASK_UNREADABLE)) as told:
                read_mask(tmp_path / name, scan)
            assert "\n" not in str(told.value)
    for nowhere in (tmp_path, tmp_path / "none.nii"):
        with pytest.raises(InputError, match=opening(texts.MASK_MISSING)):
            read_mask(nowhere, scan)


def test_a_mask_or_a_scan_without_orientation_is_laid_voxel_by_voxel(write_scan, tmp_path):
    placed = read_acquisition(write_scan())
    path = written(tmp_path, INSIDE, None)
    for scan in (placed, read_acquisition(write_scan(affine=None))):
        mask, warnings = read_mask(path, scan)
        np.testing.assert_array_equal(mask, INSIDE)
        assert warnings == (texts.MASK_UNPLACED.format(path=path),)
    with pytest.raises(InputError, match=opening(texts.MASK_SHAPE)):
        read_mask(written(tmp_path, INSIDE[1:], None), placed)

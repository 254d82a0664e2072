"""Images of every container, type and shape: the same voxels, or one sentence."""

import bz2
import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from conftest import AFFINE_LAS, opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import IncompleteError, InputError, UnrelatedError
from edge_pigment.reading.image import open_image
from edge_pigment.watch import Folder

SIGNAL = np.random.default_rng(5).integers(1, 200, (5, 6, 4, 7))


def by_both(path):
    """The scan as `run` and as `watch` read it."""
    return read_acquisition(path), Folder(path.parent).look().acquisition


def save(write_scan, name, image):
    """An image in place of the one that `write_scan` makes, with its tables."""
    path = write_scan(name="in/scan.nii")
    path.unlink()
    path = path.with_name(name)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "u1", "i1", "<f4", ">f8", "<i4", ">u8"])
def test_containers_and_types(write_scan, kind, name, dtype):
    values = (SIGNAL // 2).astype(dtype)
    header = kind.header_class(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(values.dtype)
    path = save(write_scan, name, kind(values, AFFINE_LAS, header))
    for scan in by_both(path):
        np.testing.assert_array_equal(scan.signal, values)
        assert scan.warnings == ()


@pytest.mark.parametrize("given", ["scan.hdr", "scan.img"])
def test_a_pair(write_scan, given):
    path = save(write_scan, "scan.hdr", nib.Nifti1Pair(SIGNAL.astype(np.int16), AFFINE_LAS))
    for scan in by_both(path.with_name(given)):
        np.testing.assert_array_equal(scan.signal, SIGNAL)
    path.with_suffix(".img").unlink()
    with pytest.raises(InputError, match=opening(texts.IMAGE_MISSING)):
        read_acquisition(path)
    assert "no scan.img yet" in Folder(path.parent).look().waiting[0]


def test_an_extension_of_the_header(write_scan):
    image = nib.Nifti1Image(SIGNAL.astype(np.int16), AFFINE_LAS)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"made up " * 50))
    for scan in by_both(save(write_scan, "scan.nii", image)):
        np.testing.assert_array_equal(scan.signal, SIGNAL)


def test_names_in_capitals_and_names_that_lie(write_scan):
    path = write_scan(SIGNAL.astype(np.int16), name="in/scan.nii.gz")
    for kind in ("bval", "bvec"):
        path.with_name(f"scan.{kind}").rename(path.with_name(f"SCAN.{kind.upper()}"))
    path = path.rename(path.with_name("SCAN.NII.GZ"))
    for scan in by_both(path):
        np.testing.assert_array_equal(scan.signal, SIGNAL)
    path.write_bytes(gzip.decompress(path.read_bytes()))  # called .gz, and is not
    for scan in by_both(path):
        np.testing.assert_array_equal(scan.signal, SIGNAL)


def test_a_gzip_of_several_members_and_what_follows_it(write_scan):
    path = write_scan(SIGNAL.astype(np.int16), name="in/scan.nii.gz")
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(b"".join(gzip.compress(raw[n : n + 333]) for n in range(0, len(raw), 333)) + bytes(40))
    for scan in by_both(path):
        np.testing.assert_array_equal(scan.signal, SIGNAL)


def scaled(write_scan, slope, inter):
    path = write_scan(SIGNAL.astype(np.int16), name="in/scan.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, slope, inter)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (1, 0, SIGNAL),
        (np.nan, np.nan, SIGNAL),
        (0, 5, SIGNAL),
        (np.inf, 0, SIGNAL),
        (2.5, -3, SIGNAL * 2.5 - 3),
        (1, -40, SIGNAL - 40),
    ],
)
def test_scaling(write_scan, slope, inter, expected):
    for scan in by_both(scaled(write_scan, slope, inter)):
        np.testing.assert_allclose(scan.signal, expected, rtol=1e-6)
        assert scan.warnings == ()


def test_scaling_that_makes_no_sense(write_scan):
    for inter in (np.nan, np.inf):
        path = scaled(write_scan, 2.0, inter)
        for read in (read_acquisition, lambda path: Folder(path.parent).look()):
            with pytest.raises(InputError, match=opening(texts.IMAGE_SCALING)):
                read(path)
    for scan in by_both(scaled(write_scan, -1, 500)):
        assert scan.warnings == (texts.SLOPE_NEGATIVE.format(path=scan.path, slope=-1),)
        np.testing.assert_array_equal(scan.signal, 500 - SIGNAL)


@pytest.mark.parametrize("kind", ["complex", "rgb"])
def test_what_is_not_real_is_refused_in_the_same_words(write_scan, kind):
    values = SIGNAL.astype(np.complex64)
    if kind == "rgb":
        values = np.zeros(SIGNAL.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(write_scan, "scan.nii", nib.Nifti1Image(values, AFFINE_LAS))
    for read in (read_acquisition, lambda path: Folder(path.parent).look()):
        with pytest.raises(InputError, match=opening(texts.IMAGE_NOT_REAL)):
            read(path)


def test_dimensions_of_one(write_scan):
    for shape in ((5, 6, 4, 7, 1), (5, 6, 4, 7, 1, 1, 1)):
        path = save(write_scan, "scan.nii", nib.Nifti1Image(SIGNAL.astype(np.int16).reshape(shape), AFFINE_LAS))
        for scan in by_both(path):
            np.testing.assert_array_equal(scan.signal, SIGNAL)
            assert scan.warnings == ()
    path = save(write_scan, "scan.nii", nib.Nifti1Image(SIGNAL.astype(np.int16)[..., None, :], AFFINE_LAS))
    for scan in by_both(path):
        np.testing.assert_array_equal(scan.signal, SIGNAL)
        assert scan.warnings == (texts.VECTOR_VOLUMES.format(path=path, shape=(5, 6, 4, 1, 7)),)


def test_volumes_along_another_dimension_are_told(write_scan):
    folded = SIGNAL.transpose(0, 1, 3, 2).reshape(5, 6, 28)
    with pytest.raises(InputError, match=opening(texts.IMAGE_FOLDED)) as told:
        read_acquisition(save(write_scan, "scan.nii", nib.Nifti1Image(folded.astype(np.int16), AFFINE_LAS)))
    assert not isinstance(told.value, UnrelatedError)
    first = np.moveaxis(SIGNAL, -1, 0).astype(np.int16)
    with pytest.raises(InputError, match=opening(texts.IMAGE_AXES_ORDER)):
        read_acquisition(save(write_scan, "scan.nii", nib.Nifti1Image(first, AFFINE_LAS)))


def test_one_volume_and_b0_alone_are_unrelated(write_scan):
    for signal in (SIGNAL[..., 0], SIGNAL[..., :1]):
        with pytest.raises(UnrelatedError, match=opening(texts.IMAGE_NOT_4D)):
            read_acquisition(write_scan(signal.astype(np.int16), np.zeros(1), np.zeros((1, 3))))
    for b in (0, 5):  # some scanners write 5 for none
        path = write_scan(SIGNAL[..., :2].astype(np.int16), np.full(2, b), np.zeros((2, 3)))
        with pytest.raises(UnrelatedError, match=opening(texts.NO_DIFFUSION_WEIGHTING)):
            read_acquisition(path)
    for kind in ("bval", "bvec"):
        path.with_name(f"scan.{kind}").unlink()
    with pytest.raises(UnrelatedError, match=opening(texts.GRADIENT_FILE_MISSING)):
        read_acquisition(path)
    path = write_scan()
    path.with_name("scan.bval").unlink()
    with pytest.raises(InputError, match=opening(texts.GRADIENT_FILE_MISSING)) as told:
        read_acquisition(path)
    assert not isinstance(told.value, UnrelatedError)


def put_into_header(path, at, code, *values):
    raw = bytearray(path.read_bytes())
    struct.pack_into(f"<{code}", raw, at, *values)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("at", "code", "values", "why"),
    [
        (40, "h", (0,), "0 dimensions"),
        (40, "h", (8,), "8 dimensions"),
        (42, "h", (0,), "shape (0, 6, 4, 7)"),
        (42, "h", (-5,), "shape (-5, 6, 4, 7)"),
        (70, "h", (1234,), "unknown data type, code 1234"),
        (70, "h", (0,), "data type"),
        (108, "f", (np.nan,), "begin at byte nan"),
        (108, "f", (-1,), "begin at byte -1"),
        (108, "f", (12,), "begin at byte 12"),
        (108, "f", (1e9,), "the file holds 0"),
        (42, "h", (30000,), "the header says"),
        (344, "4s", (b"zzzz",), "no NIfTI header|Analyze"),
        (344, "4s", (b"n+:",), "no NIfTI header|Analyze"),
    ],
)
def test_a_damaged_header_is_one_sentence(write_scan, capfd, at, code, values, why):
    path = write_scan(name="in/scan.nii")
    put_into_header(path, at, code, *values)
    pattern = why if "|" in why else why.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=pattern):
        read_acquisition(path)
    assert capfd.readouterr().err == ""  # nibabel has its own to say


def test_bits_that_do_not_fit_the_type(write_scan):
    path = write_scan(name="in/scan.nii")
    put_into_header(path, 72, "h", 8)
    (warning,) = read_acquisition(path).warnings
    assert warning == texts.BITPIX_DIFFERS.format(path=path, stated=8, bits=16)
    put_into_header(path, 70, "h", 2)  # the type is wrong, not the bits: the file is too long for it
    with pytest.raises(IncompleteError, match="more than its header says"):
        read_acquisition(path)


def test_a_checksum_that_does_not_fit(write_scan):
    path = write_scan(SIGNAL.astype(np.int16), name="in/scan.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IncompleteError, match=opening(texts.IMAGE_TRUNCATED)):
        read_acquisition(path)
    arrived = Folder(path.parent).look()
    assert arrived.count == 0
    assert len(arrived.waiting) == 1


def test_other_files_are_called_by_their_kind(write_scan):
    path = write_scan(name="in/scan.nii")
    raw = path.read_bytes()
    for content, why in ((bz2.compress(raw), "bzip2"), (bytes(128) + b"DICM" + bytes(400), "dcm2niix")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=why):
            open_image(path)
    path.unlink()
    path.symlink_to("../.git/annex/objects/nowhere")
    with pytest.raises(InputError, match=opening(texts.IMAGE_LINK_BROKEN)):
        open_image(path)


def test_lack_of_memory_stays_what_it_is(write_scan, monkeypatch):
    path = write_scan()

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("edge_pigment.reading.stream.Stream.readinto", full)
    with pytest.raises(MemoryError):
        read_acquisition(path)


@pytest.mark.parametrize("wild", [np.inf, -np.inf, 3e38, -1e30, 2e15])
def test_damaged_floats_are_missing(write_scan, wild):
    values = SIGNAL.astype(np.float32)
    values[2, 3, 1, 4] = wild
    path = save(write_scan, "scan.nii", nib.Nifti1Image(values, AFFINE_LAS))
    for acquisition in by_both(path):
        assert np.isnan(acquisition.signal[2, 3, 1, 4])
        assert np.isfinite(acquisition.signal).sum() == values.size - 1

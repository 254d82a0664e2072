"""Damage of every kind: whatever a file holds, what comes out is a scan or one `InputError`.

Bytes of a small scan's header, voxels, gzip stream and tables are changed at random places, with fixed seeds.
"""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.reading.orientation import LARGEST_VOXEL, SMALLEST_VOXEL
from edge_pigment.watch import Folder

MUTATIONS = 120
"""Of each part of the files."""
ODD_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
HEADER = 352


def changed(raw: bytes, rng: np.random.Generator, start: int, stop: int) -> bytes:
    """The bytes with one to four of them replaced, a bit turned, a stretch cut out, doubled or blanked."""
    out = bytearray(raw)
    kind = rng.integers(6)
    at = int(rng.integers(start, stop))
    if kind == 0:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        out[at] = int(rng.choice(ODD_BYTES))
    elif kind == 2:
        end = min(at + 4, stop)
        out[at:end] = rng.bytes(end - at)
    elif kind == 3:
        del out[at : at + int(rng.integers(1, 40))]
    elif kind == 4:
        out[at:at] = out[at : at + int(rng.integers(1, 40))]
    else:
        end = min(at + int(rng.integers(1, 80)), stop)
        out[at:end] = bytes([int(rng.choice(ODD_BYTES))]) * (end - at)
    return bytes(out)


def check(path):
    """Read by both ways; nothing but a sane scan or an InputError may come of it."""
    scans, told = [], []
    for read in (read_acquisition, lambda path: Folder(path.parent).look().acquisition):
        try:
            scans.append(read(path))
        except InputError as error:
            told.append(str(error))
    assert all(text and "\n" not in text for text in told)
    for scan in (scan for scan in scans if scan is not None):
        assert np.isfinite(scan.affine).all()
        assert abs(np.linalg.det(scan.affine[:3, :3])) > 0
        assert (scan.voxel_size >= SMALLEST_VOXEL).all()
        assert (scan.voxel_size <= LARGEST_VOXEL).all()
        assert np.isfinite(scan.gradients.bvals).all()
        assert np.isfinite(scan.gradients.bvecs).all()
        assert scan.signal.shape[3] == len(scan.gradients)
        scan.header.get_qform()  # as maps are written
    return len(scans)


@pytest.fixture(params=["nifti1", "nifti2", "qform"])
def scan(request, write_scan, tmp_path):
    """An uncompressed scan in a folder of its own."""
    path = write_scan(name="in/scan.nii")
    image = nib.load(path)
    kind = nib.Nifti2Image if request.param == "nifti2" else nib.Nifti1Image
    out = kind(np.array(image.get_fdata(), np.int16), image.affine)
    out.set_qform(image.affine, 1)
    out.set_sform(image.affine, 0 if request.param == "qform" else 1)
    nib.save(out, path)
    assert check(path) == 2
    return path


def test_the_header(scan):
    raw, rng = scan.read_bytes(), np.random.default_rng(1)
    stop = 544 if raw[0:2] == b"\x1c\x02" else HEADER
    refused = 0
    for _ in range(MUTATIONS):
        scan.write_bytes(changed(raw, rng, 0, stop))
        refused += check(scan) == 0
    assert refused > MUTATIONS / 10


def test_every_number_of_the_header_that_counts(scan):
    """Zero, the least, the largest, not a number: in each field that is read."""
    raw = scan.read_bytes()
    version = nib.Nifti2Header if raw[0:2] == b"\x1c\x02" else nib.Nifti1Header
    size = version.sizeof_hdr
    for field in ("dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter", "xyzt_units"):
        _each(scan, raw, version, size, field)
    for field in ("qform_code", "sform_code", "quatern_b", "quatern_d", "qoffset_x", "srow_x", "srow_z", "magic"):
        _each(scan, raw, version, size, field)


def _each(scan, raw, version, size, field):
    dtype = version.template_dtype.fields[field][0]
    base = dtype.base
    if base.kind == "f":
        odd = [0, np.nan, np.inf, -np.inf, -1, 1e30, 1e-30]
    elif base.kind in "iu":
        odd = [0, 1, 2, 7, np.iinfo(base).min, np.iinfo(base).max]
    else:
        odd = [b"", b"n+2", b"zzzz"]
    for value in odd:
        for place in range(dtype.shape[0] if dtype.shape else 1):
            header = version(raw[:size], check=False)
            if dtype.shape:
                header._structarr[field][place] = value
            else:
                header._structarr[field] = value
            scan.write_bytes(header.binaryblock + raw[size:])
            check(scan)


def test_the_voxels_and_the_end(scan):
    raw, rng = scan.read_bytes(), np.random.default_rng(2)
    for _ in range(MUTATIONS // 4):
        scan.write_bytes(changed(raw, rng, HEADER, len(raw)))
        check(scan)
    for kept in rng.integers(0, len(raw), MUTATIONS // 4):
        scan.write_bytes(raw[:kept])
        check(scan)


def test_the_gzip_stream(write_scan):
    path = write_scan(name="in/scan.nii.gz")
    raw, rng = path.read_bytes(), np.random.default_rng(3)
    before = read_acquisition(path).signal
    for _ in range(MUTATIONS):
        path.write_bytes(changed(raw, rng, 0, len(raw)))
        if check(path):
            # what is read in spite of the damage is what was written: the checksum saw to it
            seen = [Folder(path.parent).look().acquisition]
            seen = [s.signal for s in seen if s is not None]
            assert all(np.isin(s, before).all() for s in seen)


def test_headers_that_claim_the_world(scan):
    raw = scan.read_bytes()
    version = nib.Nifti2Header if raw[0:2] == b"\x1c\x02" else nib.Nifti1Header
    size = version.sizeof_hdr
    for shape in ((30000, 30000, 30000, 7), (5, 6, 4, 30000), (32767, 1, 1, 32767)):
        header = version(raw[:size], check=False)
        header._structarr["dim"][1:5] = shape
        block = header.binaryblock + raw[size:]
        for content, name in ((block, "scan.nii"), (gzip.compress(block), "scan.nii.gz")):
            path = scan.with_name(name)
            path.write_bytes(content)
            with pytest.raises(InputError):
                read_acquisition(path)
            path.unlink()


@pytest.mark.parametrize("kind", ["bval", "bvec"])
def test_the_tables(write_scan, kind):
    path = write_scan(name="in/scan.nii")
    table = path.with_suffix(f".{kind}")
    raw, rng = table.read_bytes(), np.random.default_rng(4)
    for _ in range(MUTATIONS):
        table.write_bytes(changed(raw, rng, 0, len(raw)))
        check(path)
    for odd in (b"", b"\0", b"\xff\xfe", b"\xff\xfe0\0 \0", b"\xef\xbb\xbf", b",", b"# 1 2", b"1e999 " * 7, b"\n" * 50):
        table.write_bytes(odd)
        check(path)
    table.unlink()
    table.mkdir()
    check(path)
    shutil.rmtree(table)
    table.symlink_to(path)
    check(path)

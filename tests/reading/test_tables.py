"""Tables as people's tools write them: read where they can be read in one way only."""

import numpy as np
import pytest

from conftest import DIRECTIONS_6, opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable
from edge_pigment.reading.tables import read_growing, read_numbers
from edge_pigment.watch import Folder

BVEC = "0 0.6 -0.8\n0 0.8 0.6\n1 0 0\n"
ROWS = np.array([[0, 0.6, -0.8], [0, 0.8, 0.6], [1, 0, 0]])


@pytest.mark.parametrize(
    "raw",
    [
        BVEC.encode(),
        BVEC.replace("\n", "\r\n").encode(),
        BVEC.replace("\n", "\r").encode(),
        BVEC.encode("utf-8-sig"),
        BVEC.encode("utf-16"),
        b"\xfe\xff" + BVEC.encode("utf-16-be"),
        BVEC.replace(" ", "\t").encode(),
        BVEC.replace(" ", ", ").encode(),
        BVEC.replace(" ", ",").replace("\n", ",\n").encode(),
        BVEC.replace("-", "\u2212").encode(),
        BVEC.replace(" ", "\xa0").encode("latin-1"),
        ("# größe\n\n" + BVEC + "\n\n").encode("latin-1"),
        BVEC.encode() + b"\0\0",
        BVEC.replace("0.6", "6.0e-01").replace("0.8", ".8E0").encode(),
    ],
)
def test_forms_that_are_read(tmp_path, raw):
    path = tmp_path / "a.bvec"
    path.write_bytes(raw)
    np.testing.assert_allclose(read_numbers(path, "bvec"), ROWS)
    np.testing.assert_allclose(read_growing(path), ROWS)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"\n # only this\n", "empty"),
        (b"0 1\n2", "differ in length"),
        (b"0; 1000", "'0;' in line 1 is not a number"),
        (b"[0 1000]", r"'\[0' in line 1"),
        (b"0 1000\n0 1_000", "'1_000' in line 2"),
        (b"0.5D+00 1", "'0.5D"),
        (b"0,5 0,7 0,1", "decimal commas"),
        (b"0 0,7 0,1", "decimal commas"),
        ("0 1000".encode("utf-16-le"), "NUL"),
        (b"\x89PNG" * 20, "line 1 is not a number"),
        ("0 \u20131000".encode(), "not a number"),
        ("\u0661".encode(), "not a number"),  # a digit, but not one of ours
    ],
)
def test_forms_that_are_refused_in_one_line(tmp_path, raw, why):
    path = tmp_path / "a.bval"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=why) as told:
        read_numbers(path, "bval")
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_comma_between_numbers_is_no_decimal_comma(tmp_path):
    path = tmp_path / "a.bval"
    for text in ("0,1000", "0, 1000", "0 ,1000", "0,\n1000", "0 , 1000"):
        path.write_text(text)
        assert read_numbers(path, "bval").ravel().tolist() == [0, 1000]


def test_what_is_no_file_or_far_too_large(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=opening(texts.GRADIENT_FILE_MISSING)):
        read_numbers(tmp_path, "bval")
    path = tmp_path / "a.bval"
    path.write_text("0 1000")
    monkeypatch.setattr("edge_pigment.reading.tables.LARGEST_FILE", 3)
    with pytest.raises(InputError, match="too large"):
        read_numbers(path, "bval")


def test_the_direction_of_a_b0_volume_means_nothing(write_scan):
    path = write_scan(name="in/scan.nii")
    clean = read_acquisition(path).gradients
    table = path.with_suffix(".bvec")
    rows = [["nan", *line.split()[1:]] for line in table.read_text().splitlines()]
    table.write_text("\n".join(" ".join(row) for row in rows))
    for scan in (read_acquisition(path), Folder(path.parent).look().acquisition):
        np.testing.assert_array_equal(scan.gradients.bvecs, clean.bvecs)


def test_a_weighted_volume_without_a_direction_is_refused_by_run(write_scan):
    bvecs = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])
    bvecs[2] = np.nan
    with pytest.raises(InputError, match=opening(texts.GRADIENTS_NOT_FINITE)):
        read_acquisition(write_scan(bvecs=bvecs))


def test_tables_the_wrong_way_round(write_scan):
    path = write_scan()
    base = path.with_name("scan")
    with pytest.raises(InputError, match=opening(texts.TABLES_SWAPPED)):
        GradientTable.from_fsl_files(base.with_suffix(".bvec"), base.with_suffix(".bval"), np.eye(4), 7)

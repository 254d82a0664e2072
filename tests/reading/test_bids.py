"""What of a dataset is a diffusion scan, and whose tables are whose."""

import numpy as np
import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import find_bids, read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.reading.bids import discover, is_called_derived


def test_images_that_are_no_scans_by_their_names(write_scan, tmp_path):
    for name in (
        "sub-01_part-mag_dwi.nii.gz",
        "sub-01_part-phase_dwi.nii.gz",
        "sub-01_part-real_dwi.nii.gz",
        "sub-01_part-imag_dwi.nii.gz",
        "sub-01_acq-b_dwi.nii.gz",
        "sub-01_acq-b_desc-denoised_dwi.nii.gz",
        "sub-01_sbref.nii.gz",
        "._sub-01_acq-b_dwi.nii.gz",
        "sub-01_run-2_DWI.NII.GZ",
    ):
        write_scan(name=f"sub-01/dwi/{name}")
    found = discover(tmp_path)
    assert [p.name for p in found.scans] == [
        "sub-01_acq-b_dwi.nii.gz",
        "sub-01_part-mag_dwi.nii.gz",
        "sub-01_run-2_DWI.NII.GZ",
    ]
    why = {path.name.split("_")[-2]: reason for path, reason in found.skipped}
    assert why == {
        "part-phase": texts.BIDS_PART.format(part="phase"),
        "part-real": texts.BIDS_PART.format(part="real part"),
        "part-imag": texts.BIDS_PART.format(part="imaginary part"),
        "desc-denoised": texts.BIDS_DERIVED.format(scan="sub-01_acq-b_dwi.nii.gz"),
    }
    assert find_bids(tmp_path) == found.scans


def test_a_derivative_alone_is_a_scan(write_scan, tmp_path):
    path = write_scan(name="sub-01/dwi/sub-01_space-T1w_desc-preproc_dwi.nii.gz")
    assert discover(tmp_path) == ([path], [])


@pytest.mark.parametrize(
    ("name", "derived"),
    [("rec-ADC", True), ("rec-tracew", True), ("desc-FA", True), ("rec-dis2d", False), ("acq-fa", False)],
)
def test_names_of_computed_images(tmp_path, name, derived):
    assert is_called_derived(tmp_path / f"sub-01_{name}_dwi.nii.gz") == derived


def test_tables_are_inherited_inside_a_dataset_only_and_it_is_said(write_scan, tmp_path):
    path = write_scan(name="set/sub-01/dwi/sub-01_acq-x_dwi.nii.gz")
    moved = [path.with_name(f"sub-01_acq-x_dwi.{kind}") for kind in ("bval", "bvec")]
    for table in moved:
        table.rename(tmp_path / "set" / f"dwi{table.suffix}")
    scan = read_acquisition(path)
    expected = [
        texts.TABLE_INHERITED.format(kind=f".{kind}", image=path.name, path=tmp_path / "set" / f"dwi.{kind}")
        for kind in ("bval", "bvec")
    ]
    assert list(scan.warnings) == expected
    # the same image on its own, in a folder below the same tables
    alone = tmp_path / "set" / "elsewhere" / path.name
    alone.parent.mkdir()
    path.rename(alone)
    with pytest.raises(InputError, match=opening(texts.GRADIENT_FILE_MISSING)):
        read_acquisition(alone)
    # a description makes a dataset of any folder
    (tmp_path / "set" / "dataset_description.json").write_text("{}")
    assert list(read_acquisition(alone).warnings) == expected


def test_a_dataset_within_a_dataset_inherits_from_itself(write_scan, tmp_path):
    write_scan(name="sub-01/dwi/sub-01_dwi.nii.gz")
    path = write_scan(name="derivatives/tool/sub-01/dwi/sub-01_dwi.nii.gz")
    for kind in ("bval", "bvec"):
        table = path.with_name(f"sub-01_dwi.{kind}")
        table.rename(tmp_path / f"dwi.{kind}")
    with pytest.raises(InputError, match=opening(texts.GRADIENT_FILE_MISSING)):
        read_acquisition(path)


def test_two_tables_that_apply_alike(write_scan, tmp_path):
    path = write_scan(name="sub-01/dwi/sub-01_acq-a_run-1_dwi.nii.gz")
    table = path.with_name("sub-01_acq-a_run-1_dwi.bval")
    for name in ("sub-01_acq-a_dwi.bval", "sub-01_run-1_dwi.bval"):
        table.with_name(name).write_text(table.read_text())
    assert read_acquisition(path).warnings == ()
    table.unlink()
    with pytest.raises(InputError, match=opening(texts.TABLE_AMBIGUOUS)):
        read_acquisition(path)
    (tmp_path / "other.bval").write_text(" ".join(map(str, np.r_[0, np.full(6, 1000)])))
    assert read_acquisition(path, tmp_path / "other.bval").warnings == ()

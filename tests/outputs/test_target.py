"""Where results may go, found out without writing anything."""

import json
import os

import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.outputs.target import DESCRIPTION, check_names, check_target, companion_name, home_of


def describe(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(json.dumps(content))


@pytest.fixture
def raw(tmp_path):
    """A raw dataset that edge-pigment's own simulation wrote, and its scan."""
    describe(tmp_path / "raw", DatasetType="raw", GeneratedBy=[{"Name": "edge-pigment"}])
    scan = tmp_path / "raw" / "sub-1" / "dwi" / "sub-1_dwi.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    return scan


def refused(text, *arguments, **options):
    with pytest.raises(InputError, match=opening(text)):
        check_target(*arguments, **options)


def test_input_is_never_replaced(raw):
    dataset = raw.parents[2]
    for participants in (None, ["sub-1"]):
        refused(texts.OUTPUT_HOLDS_INPUT, dataset, True, participants, inputs=[raw])
    check_target(dataset, True, ["sub-2"], inputs=[raw])


@pytest.mark.parametrize("below", ["sub-1", "sub-1/dwi", "sub-1/dwi/maps", "sub-1/maps", "sub-9"])
def test_no_result_among_raw_data(raw, below):
    refused(texts.OUTPUT_AMONG_INPUT, raw.parents[2] / below, True, inputs=[]) if below in (
        "sub-1/dwi/maps", "sub-1/maps", "sub-9",
    ) else None  # fmt: skip
    with pytest.raises(InputError):
        check_target(raw.parents[2] / below, True, inputs=[raw])


def test_beside_a_scan_and_below_derivatives_results_may_go(raw, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.touch()
    check_target(tmp_path / "maps", False, inputs=[scan])
    (raw.parents[2] / "derivatives").mkdir()
    check_target(raw.parents[2] / "derivatives" / "edge-pigment", False, ["sub-1"], inputs=[raw])


def test_among_the_data_of_a_dataset_without_description(tmp_path):
    scan = tmp_path / "sub-1" / "dwi" / "sub-1_dwi.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    refused(texts.OUTPUT_AMONG_INPUT, tmp_path / "sub-1" / "maps", False, inputs=[scan])
    other = tmp_path / "sub-2"  # a patient's folder that is no BIDS
    other.mkdir()
    check_target(other / "maps", False, inputs=[other / "scan.nii.gz"])


def test_input_behind_a_link_is_input(raw, tmp_path):
    (tmp_path / "link").symlink_to(raw.parents[2])
    refused(texts.OUTPUT_HOLDS_INPUT, tmp_path / "link", True, inputs=[raw])
    refused(texts.OUTPUT_AMONG_INPUT, tmp_path / "link" / "sub-1" / "maps", True, inputs=[raw])


def test_a_link_that_leads_round_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(texts.OUTPUT_NOT_WRITABLE, tmp_path / "a", False)


def test_a_link_to_nowhere_below_a_missing_folder(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "no" / "b")
    refused(texts.OUTPUT_PARENT_MISSING, tmp_path / "a", False)


def test_a_name_that_no_file_system_takes(tmp_path):
    with pytest.raises(InputError):
        check_target(tmp_path / ("x" * 5000), False)


def test_names_and_paths_that_are_too_long(tmp_path, monkeypatch):
    out = tmp_path / "out"
    check_names(out, False, [out / "x.nii.gz"])
    monkeypatch.setattr(os, "pathconf", lambda _, what: {"PC_NAME_MAX": 60, "PC_PATH_MAX": 4096}[what])
    with pytest.raises(InputError, match=opening(texts.NAME_TOO_LONG)):
        check_names(out, False, [out / ("x" * 61)])
    with pytest.raises(InputError, match=opening(texts.NAME_TOO_LONG)):
        check_names(tmp_path / ("o" * 40), False, [])  # its hidden companion's name is longer
    monkeypatch.setattr(os, "pathconf", lambda _, what: {"PC_NAME_MAX": 255, "PC_PATH_MAX": 150}[what])
    with pytest.raises(InputError, match=opening(texts.PATH_TOO_LONG)):
        check_names(out, False, [out / ("x" * 100)])


@pytest.mark.parametrize("name", ["out", "ö" * 120, "o" * 255, "\udcff" * 200, "a\nb"])
def test_companions_have_short_names_that_differ(name):
    made = f"{companion_name(name)}edge-pigment-partial-00000000"
    assert len(os.fsencode(made)) <= 255
    assert companion_name(name) == companion_name(name) != companion_name(name + "x")


def test_the_hidden_folder_lies_beside_or_in_the_target(tmp_path):
    assert home_of(tmp_path / "new", merge=True) == tmp_path
    (tmp_path / "old").mkdir()
    assert home_of(tmp_path / "old", merge=False) == tmp_path
    assert home_of(tmp_path / "old", merge=True) == tmp_path / "old"

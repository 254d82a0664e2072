"""A written result, read back by nibabel and DIPY."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from made_result import ORIENTATIONS, make_result, random_tensors
from PIL import Image

from edge_pigment.gradients import fsl_signs
from edge_pigment.outputs.bids import MAPS, ScanName, as_written, planned_files
from edge_pigment.outputs.write import plain, write_dataset_files, write_scan
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix

SCAN = Path("data/sub-01/ses-2/dwi/sub-01_ses-2_acq-fast_dwi.nii.gz")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    dataset = tmp_path_factory.mktemp("dataset")
    name = ScanName.of(dataset / SCAN)
    result = make_result(warnings=["Something to know."])
    return dataset, name, result, write_scan(result, name, dataset, threads=2, seconds={"read": 0.5})


@pytest.fixture
def no_sheet(monkeypatch):
    monkeypatch.setattr("edge_pigment.outputs.write.draw_sheet", lambda *_: Image.new("RGB", (8, 8)))


def symmetric(elements):
    """(..., 6) in the order of files -> (..., 3, 3)."""
    xx, xy, xz, yy, yz, zz = np.moveaxis(elements, -1, 0)
    return np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(*elements.shape[:-1], 3, 3)


@pytest.mark.parametrize(
    ("image", "prefix", "folder", "source"),
    [
        (SCAN, "sub-01_ses-2_acq-fast", "sub-01/ses-2/dwi", "sub-01/ses-2/dwi/" + SCAN.name),
        ("d/sub-A_dwi.nii", "sub-A", "sub-A/dwi", "sub-A_dwi.nii"),
        ("sub-1/dwi/sub-1_space-T1w_desc-preproc_dwi.nii.gz", "sub-1_space-T1w", "sub-1/dwi", None),
        ("Jane's scan_3.nii.gz", "sub-Janesscan3", "sub-Janesscan3/dwi", "Jane's scan_3.nii.gz"),
        ("patient7_DWI.nii.gz", "sub-patient7", "sub-patient7/dwi", "patient7_DWI.nii.gz"),
        ("扫描.nii.gz", "sub-scan", "sub-scan/dwi", "扫描.nii.gz"),
        ("sub-01_bold.nii.gz", "sub-sub01bold", "sub-sub01bold/dwi", None),
    ],
)
def test_names(image, prefix, folder, source):
    name = ScanName.of(Path(image))
    assert name.prefix == prefix
    assert name.folder == Path(folder)
    assert source is None or name.source == source
    assert name.source_root / name.source == Path(image).absolute()


def test_every_file_is_as_planned(written):
    dataset, name, _, (files, _) = written
    found = {path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()}
    assert found == set(planned_files(name))
    assert set(files.values()) < found
    assert set(files) == {*MAPS, "mask", "sheet", "report", "provenance"}
    assert files["FA_sd"].name == "sub-01_ses-2_acq-fast_model-tensor_desc-sd_param-fa_dwimap.nii.gz"


def test_scalar_maps_come_back(written):
    dataset, _, result, (files, _) = written
    for key in MAPS.keys() - {"tensor", "V1"}:
        np.testing.assert_array_equal(nib.load(dataset / files[key]).get_fdata(), result.maps[key], err_msg=key)
    mask = nib.load(dataset / files["mask"])
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.get_fdata() != 0, result.mask)
    np.testing.assert_allclose(mask.affine, result.affine)


def test_sidecars_say_unit_source_and_frame(written):
    dataset, _, _, (files, _) = written

    def read(key):
        return json.loads((dataset / files[key]).with_suffix("").with_suffix(".json").read_text("utf-8"))

    for key in MAPS:
        sidecar = read(key)
        assert sidecar["Sources"] == ["bids:raw:sub-01/ses-2/dwi/" + SCAN.name]
        assert sidecar["Units"] == ("mm^2/s" if key[:2] in ("MD", "AD", "RD", "te") else sidecar["Units"])
        assert sidecar["Description"]
        assert ("OrientationEncoding" in sidecar) == (key in ("tensor", "V1"))
    assert read("tensor")["OrientationEncoding"]["Reference"] == "bvec"
    assert read("tensor")["VolumeOrder"] == ["Dxx", "Dxy", "Dxz", "Dyy", "Dyz", "Dzz"]
    assert read("V1_sd")["Units"] == "degree"


def test_provenance(written):
    dataset, _, result, (files, provenance) = written
    assert json.loads((dataset / files["provenance"]).read_text("utf-8")) == plain(provenance)
    assert provenance["Noise"]["Sigma"] == 12.5
    assert provenance["Warnings"] == list(result.warnings)
    assert set(provenance["Seconds"]) == {"read", "total", "write"}


def test_dataset_description(tmp_path):
    name = ScanName.of(tmp_path / SCAN)
    (tmp_path / "stage").mkdir()
    write_dataset_files(tmp_path / "stage", name, tmp_path / "results")
    description = json.loads((tmp_path / "stage" / "dataset_description.json").read_text("utf-8"))
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "edge-pigment"
    assert description["DatasetLinks"] == {"raw": "../data"}


def test_json_has_neither_nan_nor_arrays():
    assert plain({"a": np.float32(0.5), "b": [np.nan, np.inf], "c": np.arange(2), "d": Path("x"), 1: (True, None)}) == {
        "a": 0.5,
        "b": [None, None],
        "c": [0, 1],
        "d": "x",
        "1": [True, None],
    }


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_written_tensor_is_the_tensor(tmp_path, orientation, no_sheet):
    result = make_result(ORIENTATIONS[orientation])
    files = write_scan(result, ScanName.of(None), tmp_path).files
    D = symmetric(nib.load(tmp_path / files["tensor"]).get_fdata())[result.mask]
    values, vectors = np.linalg.eigh(D)
    np.testing.assert_allclose(fractional_anisotropy(values), result.maps["FA"][result.mask], atol=1e-5)
    np.testing.assert_allclose(values.mean(-1), result.maps["MD"][result.mask], rtol=1e-5)
    V1 = nib.load(tmp_path / files["V1"]).get_fdata()[result.mask]
    np.testing.assert_allclose(np.abs(np.sum(vectors[..., 2] * V1, axis=-1)), 1, atol=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frame_is_that_of_dipy_on_the_bvec_file(orientation):
    """DIPY, given .bval and .bvec as they are in the files, finds the tensors and axes that we write."""
    dti = pytest.importorskip("dipy.reconst.dti")
    gradient_table = pytest.importorskip("dipy.core.gradients").gradient_table
    affine = ORIENTATIONS[orientation]
    rng = np.random.default_rng(3)
    g = rng.normal(size=(30, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    D = random_tensors((4, 3, 2))
    signal = np.exp(-1.0 * np.einsum("ni,xyzij,nj->xyzn", g, to_matrix(D), g))
    signal = 1000 * np.concatenate([np.ones((4, 3, 2, 1)), signal], -1)
    file_bvecs = np.concatenate([np.zeros((1, 3)), g * fsl_signs(affine)])
    table = gradient_table(np.r_[0, np.full(30, 1000.0)], bvecs=file_bvecs)
    fit = dti.TensorModel(table).fit(signal)

    tensor = as_written("tensor", (D * 1e-3).astype(np.float32), affine)
    np.testing.assert_allclose(symmetric(tensor), fit.quadratic_form, atol=2e-8)
    _, vectors = np.linalg.eigh(to_matrix(D))
    V1 = as_written("V1", vectors[..., 2].astype(np.float32), affine)
    np.testing.assert_allclose(np.abs(np.sum(V1 * fit.evecs[..., 0], axis=-1)), 1, atol=1e-4)


def test_writing_changes_nothing_in_memory(tmp_path, no_sheet):
    result = make_result(ORIENTATIONS["RAS"])
    before = {key: data.copy() for key, data in result.maps.items()}
    write_scan(result, ScanName.of(None), tmp_path)
    for key, data in result.maps.items():
        np.testing.assert_array_equal(data, before[key])

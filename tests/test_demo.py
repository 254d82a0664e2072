"""The demo: what it measures is right, and what it writes is whole. The prior itself is tested elsewhere."""

import json

import numpy as np
import pytest
from PIL import Image

from edge_pigment import demo
from edge_pigment.acquisition import find_bids, read_acquisition
from edge_pigment.demo import compare, figure
from edge_pigment.errors import InputError
from edge_pigment.outputs.colour import colour
from edge_pigment.phantom import make_phantom
from edge_pigment.pipeline import Result
from edge_pigment.simulate import Noise, Protocol, simulate_scan

NOISY = {"FA": 0.1, "MD": 0.05}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(3.0)


@pytest.fixture(scope="module")
def scan(phantom):
    return simulate_scan(phantom.subject, demo.PROTOCOL, Noise(snr=20))


@pytest.fixture(scope="module")
def mask(scan):
    return scan.truth.brain > 0.5


@pytest.fixture(scope="module")
def where(phantom, scan, mask):
    return compare.regions(phantom, scan, mask)


def truth_maps(scan, **change):
    truth = scan.truth
    sd = {f"{name}_sd": np.full(truth.FA.shape, value, np.float32) for name, value in NOISY.items()}
    return compare.Maps(truth.FA, truth.MD, truth.V1, **sd)._replace(**change)


def test_regions_are_what_they_are_called(scan, where):
    truth = scan.truth
    assert truth.FA[where.white].mean() > 2 * truth.FA[where.grey].mean()
    assert not np.any(where.grey & where.white)
    assert truth.FA[where.tracts].min() > 0.3
    for name, sign in (("raised MD", 1), ("lowered MD", -1)):
        assert where.lesions[name].sum() >= 8
        assert where.around[name].sum() > where.lesions[name].sum()
        assert sign * (truth.MD[where.lesions[name]].mean() - truth.MD[where.around[name]].mean()) > 0.2


def test_the_truth_has_no_error(scan, where):
    numbers = compare.measure(truth_maps(scan), scan, where)
    for key in ("FA error", "MD error", "FA bias, grey", "FA bias, white"):
        assert numbers[key] == 0
    assert numbers["V1 error"] < 0.1
    assert numbers["lesion, raised MD"] == pytest.approx(1)
    assert numbers["FA in 90 % interval"] == 1


def test_errors_biases_contrast_and_coverage_are_measured(scan, where):
    rng = np.random.default_rng(0)
    truth = scan.truth
    noise = rng.standard_normal(truth.FA.shape).astype(np.float32)
    flat = truth.MD * 0 + 0.8
    numbers = compare.measure(
        truth_maps(scan, FA=truth.FA + NOISY["FA"] * noise, MD=truth.MD + 0.3 * (flat - truth.MD)),
        scan,
        where,
    )
    assert numbers["FA error"] == pytest.approx(NOISY["FA"] * np.sqrt(2 / np.pi), rel=0.02)
    assert numbers["FA in 90 % interval"] == pytest.approx(0.9, abs=0.01)
    assert numbers["lesion, lowered MD"] == pytest.approx(0.7, abs=0.02)
    up = compare.measure(truth_maps(scan, FA=truth.FA + 0.05), scan, where)
    assert up["FA bias, white"] == pytest.approx(0.05, abs=1e-5)


def test_angles_are_between_axes_not_arrows():
    x, minus, y = (np.array([v], np.float32) for v in ([1, 0, 0], [-1, 0, 0], [0, 1, 0]))
    assert compare.angle(x, minus)[0] == pytest.approx(0, abs=1e-3)
    assert compare.angle(x, y)[0] == pytest.approx(90)


def test_wls_maps_come_near_the_truth_at_high_snr(phantom):
    scan = simulate_scan(phantom.subject, Protocol(voxel=(5, 5, 5)), Noise(snr=1e5))
    maps = compare.wls_maps(scan)
    single = (scan.truth.brain > 0.99) & (scan.truth.FA > 0.4)
    assert np.abs(maps.MD - scan.truth.MD)[single].mean() < 0.03
    assert np.median(compare.angle(maps.V1, scan.truth.V1)[single]) < 5


def test_table_has_a_ratio_for_errors_only(scan, where):
    numbers = compare.measure(truth_maps(scan, FA=scan.truth.FA + 0.1), scan, where)
    half = numbers | {"FA error": numbers["FA error"] / 2}
    without = {k: v for k, v in numbers.items() if "interval" not in k}
    text = compare.table({"WLS": without, "edge-pigment": half})
    rows = {line[:44].strip(): line[44:].split() for line in text.splitlines()}
    assert rows["FA, mean absolute error"] == ["0.100", "0.050", "0.50"]
    assert rows["truth within the 90 % interval, FA"][0] == "-"
    assert len(rows["FA bias, grey matter"]) == 2


def test_figure_shows_the_truth_under_its_heading_and_marks_the_lesions(scan, mask):
    wls = truth_maps(scan, MD=scan.truth.MD * 0 + 0.4)
    picture = figure.draw(scan, wls, truth_maps(scan), mask, "title")
    assert picture.width > 1000
    pixels = np.asarray(picture)
    assert np.sum(np.all(pixels == figure.MARK, axis=-1)) > 500
    flat = colour(np.array(0.4), 0, figure.MD_TOP, "grey")
    grey = np.all(pixels == flat, axis=-1)
    columns = np.flatnonzero(grey.sum(0) > 100)
    second = figure.MARGIN + figure.LABELS + (picture.width - figure.LABELS) // 4
    assert columns.min() > second - 60
    assert columns.max() < second + (picture.width - figure.LABELS) // 4 + 60


def stand_in(acquisition, options):
    """In the pipeline's place: weighted least squares with a sd, so that the demo's own steps are tested."""
    mask = acquisition.mean_b0 > 0.3 * np.percentile(acquisition.mean_b0, 95)
    theta = compare.wls(acquisition.signal[mask], acquisition.gradients.bvals / 1000, acquisition.gradients.bvecs)
    values, vectors = np.linalg.eigh(compare.to_matrix(compare.clip_negative(theta[:, 1:])))
    columns = {
        "FA": compare.fractional_anisotropy(values),
        "MD": values.mean(-1) / 1000,
        "V1": vectors[..., 2],
        "tensor": theta[:, 1:] / 1000,
    }
    for name in ("AD", "RD", "S0", "FA_sd", "MD_sd", "AD_sd", "RD_sd", "S0_sd", "V1_sd"):
        columns[name] = np.full(len(theta), 1e-4)
    for name in ("novelty", "datashare", "residual"):
        columns[name] = np.ones(len(theta))
    maps = {}
    for name, values in columns.items():
        maps[name] = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
        maps[name][mask] = values
    provenance = {"Noise": {"Sigma": 1.0}, "Bundle": {"Name": "stand-in"}, "Seconds": {}}
    return Result(maps, mask, acquisition.affine, acquisition.header, provenance)


@pytest.fixture(scope="module")
def outcome(phantom, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(demo, "run", stand_in)
    patch.setattr(demo, "make_phantom", lambda seed: phantom)
    patch.setattr(demo, "PROTOCOL", demo.PROTOCOL.model_copy(update={"voxel": (4.0, 4.0, 5.0)}))
    folder = tmp_path_factory.mktemp("demo") / "out"
    steps = []
    yield demo.run_demo(folder, seed=1, threads=1, progress=steps.append), folder, steps
    patch.undo()


def test_demo_writes_scan_truth_maps_picture_and_numbers(outcome):
    result, folder, _ = outcome
    assert result.figure == folder / "comparison.png"
    assert Image.open(result.figure).width > 500
    assert json.loads((folder / "comparison.json").read_text())["Seed"] == 1
    scan = read_acquisition(find_bids(folder / "scan")[0])
    assert scan.signal.shape[3] == 7
    assert {p.name for p in (folder / "truth").iterdir()} == {
        f"sub-demo_{name}.nii.gz" for name in ("FA", "MD", "labels", "lesions")
    }
    assert list((folder / "sub-demo" / "dwi").glob("*_param-fa_dwimap.nii.gz"))


def test_demo_compares_with_wls_on_the_same_voxels(outcome):
    result, _, _ = outcome
    wls, ours = result.json["Methods"].values()
    assert ours["FA error"] == pytest.approx(wls["FA error"], rel=1e-3)  # int16 rounding of the files
    assert "FA, mean absolute error" in result.table
    assert "SNR 10" in result.table
    assert "seed 1" in result.table


def test_demo_tells_its_steps(outcome):
    assert outcome[2][:3] == ["head", "scan", "maps"]


def test_demo_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        demo.run_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

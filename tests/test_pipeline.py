"""The whole run on a simulated scan of the digital head, judged by the known truth."""

import nibabel as nib
import numpy as np
import pytest

from edge_pigment import errors as texts
from edge_pigment import pipeline
from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.errors import DeviceError, InputError
from edge_pigment.gradients import GradientTable
from edge_pigment.outputs.write import _shown
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.pipeline import STEPS, RunOptions, run
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment.wls import clip_negative, wls

SCALARS = ("FA", "MD", "AD", "RD", "S0")


@pytest.fixture(scope="module")
def scan():
    protocol = Protocol(voxel=(3.0, 3.0, 4.0), shells=(Shell(b=1000.0, directions=6),), b0=1)
    return simulate_scan(make_phantom(2.5).subject, protocol, Noise(snr=12), seed=1)


@pytest.fixture(scope="module")
def acquisition(scan):
    return Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)


@pytest.fixture(scope="module")
def result(acquisition):
    return run(acquisition, RunOptions(threads=2))


def test_every_map_is_there_finite_and_zero_outside_the_mask(result):
    expected = {*SCALARS, *(f"{name}_sd" for name in SCALARS), "tensor", "V1", "V1_sd"}
    assert expected | {"novelty", "datashare", "residual"} == set(result.maps)
    for name, image in result.maps.items():
        assert image.shape[:3] == result.mask.shape, name
        assert np.all(np.isfinite(image)), name
        assert not image[~result.mask].any(), name
    for name in SCALARS:
        assert np.all(result.maps[f"{name}_sd"][result.mask] > 0)
    np.testing.assert_allclose(np.linalg.norm(result.maps["V1"][result.mask], axis=-1), 1, atol=1e-3)
    assert np.all(result.maps["AD"] >= result.maps["RD"] - 1e-9)


def test_the_maps_are_nearer_to_the_truth_than_weighted_least_squares(scan, result):
    truth, where = scan.truth, result.mask & (scan.truth.brain > 0.5)
    y = np.moveaxis(scan.signal, -1, 0)[:, where].T
    D = clip_negative(wls(y, scan.bvals / 1000, scan.bvecs))
    eigenvalues = np.linalg.eigvalsh(to_matrix(D))
    MD, FA = eigenvalues.mean(-1), fractional_anisotropy(eigenvalues)
    ours_FA, ours_MD = result.maps["FA"][where], result.maps["MD"][where] * 1000
    assert np.abs(ours_FA - truth.FA[where]).mean() < 0.6 * np.abs(FA - truth.FA[where]).mean()
    assert np.abs(ours_MD - truth.MD[where]).mean() < 0.9 * np.abs(MD - truth.MD[where]).mean()
    tract = where & (truth.FA > 0.3)
    cosine = np.abs(np.sum(result.maps["V1"][tract] * truth.V1[tract], -1))
    assert np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1)))) < 20


def test_a_trace_image_gives_md_and_the_run_says_what_it_does_not_give():
    protocol = Protocol(voxel=(3.0, 3.0, 4.0), shells=(Shell(b=1000.0, directions=1, scheme="trace"),), b0=1)
    scan = simulate_scan(make_phantom(2.5).subject, protocol, Noise(snr=20), seed=1)
    result = run(Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine), RunOptions(threads=2))
    assert texts.TRACE_ONLY in result.warnings
    assert texts.TRACE_IMAGES.format(volumes="1") in result.warnings
    brain = result.mask & (scan.truth.brain > 0.99)
    MD, sd, truth = 1e3 * result.maps["MD"][brain], 1e3 * result.maps["MD_sd"][brain], scan.truth.MD[brain]
    S = np.maximum(scan.signal[brain], 1e-3)
    ADC = np.log(S[:, 0] / S[:, 1])
    assert np.abs(MD - truth).mean() < np.abs(ADC - truth).mean()
    assert 0.85 < np.mean(np.abs(MD - truth) < 1.645 * sd) < 0.99
    assert set(_shown(result)) >= {"MD", "MD_sd", "S0"}
    assert not set(_shown(result)) & {"FA", "V1"}


def test_the_result_does_not_depend_on_the_thread_count(acquisition, result):
    one = run(acquisition, RunOptions(threads=1))
    for name, image in result.maps.items():
        scale = np.abs(image).max()
        # the network's sums may be ordered otherwise; the kernels' are not
        np.testing.assert_allclose(one.maps[name], image, atol=2e-3 * scale, err_msg=name)


def test_the_unit_of_the_image_does_not_matter(acquisition, result):
    scaled = Acquisition(acquisition.signal * 517.0, acquisition.gradients, acquisition.affine)
    again = run(scaled, RunOptions(threads=2))
    np.testing.assert_allclose(again.maps["FA"], result.maps["FA"], atol=2e-3)
    np.testing.assert_allclose(again.maps["S0"], result.maps["S0"] * 517.0, rtol=1e-2, atol=1)


def test_steps_are_told_in_order(acquisition):
    told = []
    run(acquisition, RunOptions(threads=2), lambda name, share: told.append((name, share)))
    names = [name for name, _ in told]
    assert tuple(dict.fromkeys(names)) == STEPS
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_provenance_says_what_was_done(result):
    p = result.provenance
    assert p["Protocol"]["Volumes"] == 7
    assert len(p["Bundle"]["SHA256"]) == 64
    assert "CPUExecutionProvider" in p["Device"]["Network"]
    assert p["Device"]["Kernels"].startswith("host")
    assert p["Noise"]["Sigma"] > 0
    assert 0 <= p["Float64Voxels"] < 0.01 * p["MaskVoxels"]
    assert {"summarise", "context prior", "adapt", "maps", "total"} <= set(p["Seconds"])


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_a_flipped_gradient_axis_of_a_real_scan_is_warned_of(shared_data, axis):
    right = read_acquisition(next((shared_data / "validation").glob("sub-vanderbilt/dwi/*_dwi.nii.gz")))
    signs = np.ones(3)
    if axis is not None:
        signs[axis] = -1
    table = right.gradients.with_signs(signs)
    convention = run(Acquisition(right.signal, table, right.affine)).provenance["GradientConvention"]
    assert convention["BestNegated"] == ("none" if axis is None else "xyz"[axis])


def test_measurements_that_are_not_finite_have_no_weight(acquisition):
    signal = acquisition.signal.copy(order="F")
    centre = tuple(n // 2 for n in signal.shape[:3])
    signal[(*centre, 3)] = np.nan
    signal[(*centre[:2], centre[2] + 1, slice(None))] = np.nan
    maps = run(Acquisition(signal, acquisition.gradients, acquisition.affine)).maps
    assert all(np.all(np.isfinite(image)) for image in maps.values())


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf"), 1e-300, 1e300])
def test_a_sigma_that_is_none_is_refused(acquisition, sigma):
    with pytest.raises(InputError, match="is not a positive number"):
        run(acquisition, RunOptions(sigma=sigma))


@pytest.mark.parametrize(("times", "doubted"), [(0.7, False), (1, False), (1.5, False), (4, True), (0.1, True)])
def test_a_sigma_far_from_what_the_scan_shows_is_doubted(scan, acquisition, times, doubted):
    given = times * float(np.median(scan.sigma[scan.truth.brain > 0.5]))
    found = run(acquisition, RunOptions(sigma=given, dry_run=True))
    assert found.maps == {}
    assert any("is far from the noise" in warning for warning in found.warnings) == doubted


def test_a_doubted_sigma_takes_the_verdict_down(acquisition):
    quality = run(acquisition, RunOptions(sigma=1e-15)).provenance["Quality"]
    assert quality["Verdict"] != "usable"
    assert any("is far from the noise" in reason for reason in quality["Reasons"])


def test_masks_are_checked(acquisition, tmp_path):
    shape = acquisition.signal.shape[:3]
    path = tmp_path / "mask.nii.gz"

    def refuse(image, message):
        nib.save(nib.Nifti1Image(image, acquisition.affine), path)
        with pytest.raises(InputError, match=message):
            run(acquisition, RunOptions(mask=path))

    refuse(np.zeros(shape, np.uint8), "holds no voxel with signal")
    refuse(np.ones((3, 3, 3), np.uint8), "Resample the mask")
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        run(acquisition, RunOptions(mask=path))


def test_a_device_that_is_not_there_is_never_replaced_silently(acquisition, monkeypatch):
    no_gpu(monkeypatch)
    with pytest.raises(DeviceError, match=r"--device cuda cannot be had: no GPU here\. Use"):
        run(acquisition, RunOptions(device="cuda"))
    with pytest.raises(InputError, match=texts.DEVICE_UNKNOWN.split("{")[0]):
        run(acquisition, RunOptions(device="tpu"))


def no_gpu(monkeypatch):
    def refuse():
        raise DeviceError("no GPU here")

    monkeypatch.setattr(pipeline, "CudaBackend", refuse)


def test_without_a_gpu_auto_takes_the_cpu_and_says_why(acquisition, result, monkeypatch):
    no_gpu(monkeypatch)
    again = run(acquisition, RunOptions(device="auto", threads=2))
    assert again.provenance["Device"]["Asked"] == "auto"
    assert again.provenance["Device"]["Kernels"].startswith("host")
    assert again.provenance["Device"]["GPU"] == "not used: no GPU here"
    assert again.warnings == result.warnings


class BreakingBackend(HostBackend):
    """A GPU, for the pipeline, that fails at the step it is told to fail at."""

    def __init__(self, step: str):
        super().__init__(2)
        self.step = step

    name = "a GPU"

    def verify(self):
        pass

    def _run(self, function, *arguments):
        if function == self.step:
            raise DeviceError("it broke")
        super()._run(function, *arguments)


@pytest.mark.parametrize("step", ["ep_summarise", "ep_adapt", "ep_moments"])
def test_a_gpu_that_fails_midway_leaves_the_rest_to_the_cpu(acquisition, result, monkeypatch, step):
    monkeypatch.setattr(pipeline, "CudaBackend", lambda: BreakingBackend(step))
    again = run(acquisition, RunOptions(device="auto", threads=2))
    for name, image in result.maps.items():
        np.testing.assert_array_equal(again.maps[name], image)
    device = again.provenance["Device"]
    assert device["Kernels"].startswith("a GPU, and after it failed host (")
    assert device["GPU"] == "failed: it broke"
    assert texts.GPU_FAILED.format(why="it broke") in again.warnings
    monkeypatch.setattr(pipeline, "CudaBackend", lambda: BreakingBackend(step))
    with pytest.raises(DeviceError, match="it broke"):
        run(acquisition, RunOptions(device="cuda", threads=2))

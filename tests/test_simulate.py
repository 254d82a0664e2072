"""The simulator: each part does what its equation says, and the chain gives back what went in."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_pigment.acquisition import read_acquisition
from edge_pigment.cli import app
from edge_pigment.errors import InputError
from edge_pigment.outputs.bids import as_written
from edge_pigment.physics.tensor import from_matrix, quadratic_form
from edge_pigment.simulate import (
    Compartment,
    Faults,
    Noise,
    Protocol,
    Readout,
    Shell,
    Subject,
    profile_names,
    read_profile,
    read_subject,
    sampling,
    simulate_scan,
    write_scan,
)
from edge_pigment.simulate import directions as schemes
from edge_pigment.simulate import noise as receiver
from edge_pigment.wls import wls

QUIET = Noise(snr=1e6)
RAS = np.diag([2.0, 2.0, 2.0, 1.0])
LAS = np.diag([-2.0, 2.0, 2.0, 1.0])


def tensor(values=(1.6, 0.5, 0.3), degrees=(20, 40, 60)):
    R = sampling.rotation(degrees)
    return from_matrix(R @ np.diag(values) @ R.T)


def uniform(shape=(12, 14, 8), affine=RAS, D=None, S0=100.0):
    six = np.broadcast_to(tensor() if D is None else D, (*shape, 6))
    return Subject.from_tensor(np.full(shape, S0), six, affine)


def same_grid(**more):
    return Protocol(voxel=(2, 2, 2), **more)


# ----------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize(("n", "least"), [(3, 89.0), (4, 70.4), (6, 63.3), (12, 38), (30, 24), (64, 15)])
def test_electrostatic_directions_keep_apart(n, least):
    """Known optima: orthogonal, tetrahedral (70.5 as axes), icosahedral (63.4)."""
    g = schemes.electrostatic(n)
    assert np.allclose(np.linalg.norm(g, axis=1), 1)
    cosine = np.abs(g @ g.T) - 2 * np.eye(n)
    assert np.degrees(np.arccos(cosine.max())) > least


@pytest.mark.parametrize("name", sorted(schemes.SCHEMES))
def test_every_scheme_gives_unit_vectors(name):
    n = {"orthogonal": 3, "tetrahedral": 4, "dual": 6}.get(name, 9)
    g = schemes.SCHEMES[name](n, np.random.default_rng(0))
    assert g.shape == (n, 3)
    assert np.allclose(np.linalg.norm(g, axis=1), 1)


def test_bad_schemes_are_bad():
    good, cone, flat = (
        np.linalg.cond(quadratic_form(g))
        for g in (
            schemes.electrostatic(12),
            schemes.cone(12, np.random.default_rng(0)),
            schemes.coplanar(12, np.random.default_rng(0)),
        )
    )
    assert good < 5
    assert cone > 20
    assert flat > 20


def test_fixed_schemes_refuse_other_counts():
    with pytest.raises(ValueError, match="tetrahedral scheme has 4"):
        schemes.tetrahedral(5)
    with pytest.raises(ValueError, match="tetrahedral scheme has 4"):
        Shell(b=1000, directions=6, scheme="tetrahedral")
    with pytest.raises(ValueError, match="none of"):
        Shell(b=1000, scheme="circular")


# ------------------------------------------------------------------------------------------------- sampling


def test_averaging_conserves_the_total_and_handles_any_ratio():
    A = sampling.averaging(10, 1.0, 0.75, 2.5, 2.5, 4)
    assert np.allclose(A.sum(1), 1)
    assert np.allclose(A.sum(0), 0.4)
    assert np.allclose(A[0, :4], [0.4, 0.4, 0.2, 0])


def test_what_lies_outside_the_field_of_view_is_air():
    A = sampling.averaging(4, 1.0, -0.5, 2.0, 2.0, 3)
    assert A[0].sum() == pytest.approx(0.5)


def test_applying_averages_each_axis():
    image = np.random.default_rng(0).random((8, 6, 4)).astype(np.float32)
    A = tuple(sampling.averaging(n, 1.0, 0.5, 2.0, 2.0, n // 2) for n in image.shape)
    assert np.allclose(sampling.apply(A, image), image.reshape(4, 2, 3, 2, 2, 2).mean((1, 3, 5)), atol=1e-6)


def test_zero_filling_interpolates_and_keeps_samples():
    image = np.random.default_rng(0).random((8, 9, 3)).astype(np.float32)
    fine = sampling.zero_fill(image, 2)
    assert fine.shape == (16, 18, 3)
    assert np.allclose(fine[::2, ::2], image, atol=1e-5)


def test_zero_filling_correlates_noise_and_keeps_its_variance():
    noise = np.random.default_rng(0).standard_normal((64, 64, 20)).astype(np.float32)
    fine = sampling.zero_fill(noise, 2)
    assert fine.std() == pytest.approx(noise.std(), rel=0.01)
    assert np.corrcoef(fine[:-1].ravel(), fine[1:].ravel())[0, 1] == pytest.approx(2 / np.pi, abs=0.02)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.01


def test_rotation_by_ninety_degrees_about_z_turns_x_to_y():
    assert np.allclose(sampling.rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_moving_by_whole_voxels_shifts():
    image = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)
    moved = sampling.move(image, (2, 2, 3), np.eye(3), (2, 0, -3))
    assert np.allclose(moved[1:, :, :-1], image[:-1, :, 1:], atol=1e-5)
    assert np.allclose(moved[0], 0, atol=1e-5)


def test_moving_by_a_quarter_turn_rotates_about_the_centre():
    image = np.random.default_rng(0).random((7, 7, 3)).astype(np.float32)
    turned = sampling.move(image, (2, 2, 2), sampling.rotation((0, 0, 90)), (0, 0, 0))
    assert np.allclose(turned, np.rot90(image, -1, axes=(1, 0)), atol=1e-3)


@pytest.mark.parametrize("kind", ["epi", "fse"])
def test_blur_spreads_a_point_and_keeps_a_flat_image(kind):
    image = np.zeros((5, 33, 2), np.float32)
    image[2, 16] = 1
    blurred = sampling.blur(image, Readout(kind=kind, duration=80, decay=60))
    assert blurred[2, [15, 17], 0].min() > 0.05
    assert blurred[2, [14, 18], 0].max() < blurred[2, 16, 0] / 3
    assert np.allclose(blurred[0], 0)
    flat = np.ones((3, 16, 2), np.float32)
    assert np.allclose(sampling.blur(flat, Readout(kind=kind)), 1, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- noise


def test_rician_moments():
    """E[M²] = S² + 2σ²; at S = 0 the mean is σ√(π/2) (Gudbjartsson & Patz 1995, eq. 2 and 5)."""
    shape, rng = (60, 60, 60), np.random.default_rng(0)
    sigma = np.full(shape, 2.0, np.float32)
    none = receiver.magnitude(np.zeros(shape, np.float32), sigma, 1, 1, rng)
    some = receiver.magnitude(np.full(shape, 3.0, np.float32), sigma, 1, 1, rng)
    assert none.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=5e-3)
    assert np.mean(some.astype(float) ** 2) == pytest.approx(9 + 8, rel=5e-3)


@pytest.mark.parametrize("coils", [2, 8])
def test_noncentral_chi_moments(coils):
    """E[M²] = S² + 2Lσ²; Var[M²] = 4σ²S² + 4Lσ⁴ (Constantinides et al. 1997)."""
    shape, rng = (50, 50, 50), np.random.default_rng(0)
    square = receiver.magnitude(np.full(shape, 3.0, np.float32), np.ones(shape, np.float32), coils, 1, rng)
    square = square.astype(float) ** 2
    assert square.mean() == pytest.approx(9 + 2 * coils, rel=5e-3)
    assert square.var() == pytest.approx(36 + 4 * coils, rel=0.03)


def test_sigma_varies_as_asked_and_keeps_its_mean():
    brain = np.ones((20, 20, 20), bool)
    sigma = receiver.sigma_map(brain.shape, brain, 3.0, 0.3, np.random.default_rng(0))
    assert sigma.mean() == pytest.approx(3, rel=1e-5)
    assert 0.15 < sigma.std() / 3 < 0.5
    assert np.ptp(receiver.sigma_map(brain.shape, brain, 3.0, 0.0, np.random.default_rng(0))) == 0


def test_snr_is_that_of_the_noise_free_b0():
    scan = simulate_scan(uniform((30, 30, 20)), same_grid(), Noise(snr=20))
    assert scan.sigma.mean() == pytest.approx(5, rel=1e-3)
    assert scan.signal[..., 0].std() == pytest.approx(5, rel=0.03)


# ---------------------------------------------------------------------------------------------------- chain


@pytest.mark.parametrize("scheme", ["electrostatic", "dual"])
def test_noise_free_scan_gives_the_tensor_back(scheme):
    scan = simulate_scan(uniform(), same_grid(shells=(Shell(b=1000, scheme=scheme),)), QUIET)
    theta = wls(scan.signal.reshape(-1, 7), scan.bvals / 1000, scan.bvecs)
    assert np.allclose(theta[:, 1:], tensor(), atol=2e-4)
    assert np.allclose(scan.truth.D, tensor(), atol=2e-4)
    assert np.allclose(scan.truth.MD, tensor()[:3].mean(), atol=1e-4)


def test_thick_slices_mix_neighbours_as_signals_not_as_tensors():
    D = np.zeros((4, 4, 4, 6), np.float32)
    D[..., :3] = 0.7
    D[:, :, ::2, :3] = 3.0
    scan = simulate_scan(Subject.from_tensor(np.full((4, 4, 4), 100.0), D, RAS), Protocol(voxel=(2, 2, 4)), QUIET)
    assert scan.signal.shape == (4, 4, 2, 7)
    expected = 50 * (np.exp(-0.7) + np.exp(-3.0))
    assert np.allclose(scan.signal[..., 1:], expected, rtol=1e-4)
    assert np.allclose(scan.truth.MD, -np.log(expected / 100), atol=1e-3)


def test_affine_keeps_the_field_of_view():
    scan = simulate_scan(uniform((12, 14, 8)), Protocol(voxel=(4, 4, 8)), QUIET)
    centre = scan.affine @ [*(np.array(scan.signal.shape[:3]) - 1) / 2, 1]
    assert np.allclose(centre[:3], [11, 13, 7])
    assert np.allclose(np.diag(scan.affine)[:3], [4, 4, 8])


def test_zero_filled_scan_has_twice_the_matrix_and_the_same_truth():
    plain = simulate_scan(uniform(), same_grid(), QUIET)
    filled = simulate_scan(uniform(), same_grid(zero_fill=2), QUIET)
    assert filled.signal.shape[:3] == (24, 28, 8)
    assert np.allclose(filled.affine[:3, :3], np.diag([1, 1, 2]))
    assert np.allclose(filled.affine[:3, 3], plain.affine[:3, 3])
    assert np.allclose(filled.signal[2:-2:2, 2:-2:2], plain.signal[1:-1, 1:-1], rtol=1e-3)


def test_trace_image_is_the_geometric_mean_of_three_directions():
    scan = simulate_scan(uniform(), same_grid(shells=(Shell(b=1000, directions=1, scheme="trace"),)), QUIET)
    assert scan.signal.shape[-1] == 2
    assert np.allclose(scan.signal[..., 1], 100 * np.exp(-tensor()[:3].mean()), rtol=1e-4)
    assert np.all(scan.bvecs == 0)


def test_gradient_scale_changes_what_is_measured_not_what_is_stated():
    scan = simulate_scan(uniform(), same_grid(), QUIET, Faults(gradient_scale=(1.1, 1, 1)))
    D = wls(scan.signal.reshape(-1, 7), scan.bvals / 1000, scan.bvecs)[0, 1:]
    assert D[0] == pytest.approx(1.21 * tensor()[0], rel=1e-3)
    assert D[1] == pytest.approx(tensor()[1], rel=1e-3)


def test_a_turned_head_feels_turned_gradients():
    """A sphere of one tensor, turned: its signal is that of the turned tensor."""
    scan = simulate_scan(uniform((20, 20, 20)), same_grid(), QUIET, Faults(rotation=10), seed=4)
    rng = np.random.default_rng(4).spawn(5)[2]
    rng.standard_normal((2, 3))  # of the first volume, which does not move
    R = sampling.rotation(10 * rng.standard_normal((2, 3))[0])
    turned = R @ np.array(tensor())[[0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(3, 3) @ R.T
    g = scan.bvecs[1]
    assert scan.signal[10, 10, 10, 1] == pytest.approx(100 * np.exp(-g @ turned @ g), rel=1e-3)


def test_outlier_slices_lose_signal_and_are_told():
    scan = simulate_scan(uniform((12, 14, 40)), same_grid(), QUIET, Faults(outliers=0.2))
    clean = simulate_scan(uniform((12, 14, 40)), same_grid(), QUIET)
    ratio = (scan.signal / clean.signal).mean((0, 1))
    assert 0.1 < scan.lost[:, 1:].mean() < 0.3
    assert not scan.lost[:, 0].any()
    assert np.all(ratio[scan.lost] < 0.61)
    assert np.allclose(ratio[~scan.lost], 1, atol=1e-3)


def test_bias_is_smooth_and_common_direction_bias_is_not():
    common = simulate_scan(uniform(), same_grid(), QUIET, Faults(bias=0.2)).signal
    assert 0.1 < np.log(common[..., 0]).std() < 0.4
    assert np.allclose(common[..., 1] / common[..., 0], common[0, 0, 0, 1] / common[0, 0, 0, 0], rtol=1e-3)
    own = simulate_scan(uniform(), same_grid(), QUIET, Faults(direction_bias=0.2)).signal
    assert np.log(own[..., 0]).std() < 1e-3
    assert np.log(own[..., 1]).std() > 0.1


def test_same_seed_same_scan_and_faults_have_their_own_streams():
    first, second = (simulate_scan(uniform(), same_grid(), Noise(snr=10), seed=7).signal for _ in range(2))
    other = simulate_scan(uniform(), same_grid(), Noise(snr=10), seed=8).signal
    biased = simulate_scan(uniform(), same_grid(), Noise(snr=10), Faults(outliers=1e-9), seed=7).signal
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, biased)


def test_mixture_of_two_compartments():
    everywhere = np.arange(8)
    one, two = np.array([[1.7, 0.3, 0.3, 0, 0, 0]]), np.array([[0.3, 1.7, 0.3, 0, 0, 0]])
    parts = (Compartment(everywhere, np.full(8, 0.6), one), Compartment(everywhere, np.full(8, 0.4), two))
    subject = Subject((2, 2, 2), RAS, parts, np.ones((2, 2, 2)))
    assert np.allclose(subject.signal(1.0, (1, 0, 0)), 0.6 * np.exp(-1.7) + 0.4 * np.exp(-0.3))
    assert np.allclose(subject.signal(0.0, (1, 0, 0)), 1)


def test_a_subject_refuses_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match="must be"):
        Subject.from_tensor(np.ones((2, 2, 2)), np.ones((2, 2, 3, 6)), RAS)


# ---------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("affine", [RAS, LAS], ids=["det > 0", "det < 0"])
@pytest.mark.parametrize("integers", [True, False])
def test_files_round_trip_in_the_right_frame(tmp_path, affine, integers):
    scan = simulate_scan(uniform(affine=affine), same_grid(), Noise(snr=30))
    path = write_scan(scan, tmp_path / "made" / "sub-x_dwi", integers)
    read = read_acquisition(path)
    assert np.allclose(read.gradients.bvecs, scan.bvecs, atol=1e-7)
    assert np.allclose(read.gradients.bvals, scan.bvals)
    assert np.allclose(read.affine, scan.affine)
    assert np.allclose(read.signal, scan.signal, atol=scan.signal.max() / 30000)
    first_row = np.array((tmp_path / "made/sub-x_dwi.bvec").read_text().splitlines()[0].split(), float)
    assert np.allclose(first_row, scan.bvecs[:, 0] * (-1 if np.linalg.det(affine) > 0 else 1), atol=1e-7)


def test_dipy_reads_the_files_as_others_do(tmp_path):
    """DIPY takes .bvec as image axes as they stand, so for det < 0 its tensor is ours."""
    gradients = pytest.importorskip("dipy.io.gradients")
    table = pytest.importorskip("dipy.core.gradients")
    dti = pytest.importorskip("dipy.reconst.dti")
    path = write_scan(simulate_scan(uniform(affine=LAS), same_grid(), QUIET), tmp_path / "scan", integers=False)
    b, g = gradients.read_bvals_bvecs(str(tmp_path / "scan.bval"), str(tmp_path / "scan.bvec"))
    fit = dti.TensorModel(table.gradient_table(b, bvecs=g)).fit(nib.load(path).get_fdata())
    assert np.allclose(from_matrix(1000 * fit.quadratic_form[5, 5, 5]), tensor(), atol=1e-3)


def test_sidecar_says_that_it_is_simulated_and_how(tmp_path):
    write_scan(simulate_scan(uniform(), same_grid(), Noise(snr=10), seed=5), tmp_path / "scan")
    about = json.loads((tmp_path / "scan.json").read_text())
    assert about["Simulated"] is True
    assert about["GeneratedBy"]["Seed"] == 5
    assert about["Noise"]["snr"] == 10
    assert about["MeanNoiseSDInBrain"] == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("affine", [RAS, LAS], ids=["det > 0", "det < 0"])
def test_a_written_tensor_image_is_read_back(tmp_path, affine):
    six = np.broadcast_to(tensor() / 1000, (3, 4, 5, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(as_written("tensor", six, affine), affine), tmp_path / "tensor.nii.gz")
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 7, np.float32), affine), tmp_path / "s0.nii.gz")
    part = read_subject(tmp_path / "tensor.nii.gz", tmp_path / "s0.nii.gz").compartments[0]
    assert np.allclose(part.D, tensor(), atol=1e-6)
    assert np.all(part.weight == 7)


def test_what_is_no_tensor_image_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), RAS), tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="a tensor image has"):
        read_subject(tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="no image"):
        read_subject(tmp_path / "missing.nii")


def test_command_scans_a_tensor_image_by_a_profile(tmp_path):
    six = np.broadcast_to(tensor() / 1000, (12, 12, 12, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(as_written("tensor", six, RAS), RAS), tmp_path / "tensor.nii")
    options = ["simulate", "-o", str(tmp_path / "out"), "--tensor", str(tmp_path / "tensor.nii")]
    result = CliRunner().invoke(app, [*options, "--profile", "0.55T", "--snr", "30"])
    assert result.exit_code == 0, result.output
    about = json.loads((tmp_path / "out/sub-phantom/dwi/sub-phantom_dwi.json").read_text())
    assert about["Protocol"]["shells"][0]["directions"] == 12
    assert about["Noise"] == {"snr": 30, "coils": 8, "variation": 0.1}


def test_command_refuses_an_unknown_profile(tmp_path):
    result = CliRunner().invoke(app, ["simulate", "-o", str(tmp_path / "out"), "--profile", "7T"])
    assert result.exit_code == 2
    assert "64mT" in result.stderr


# -------------------------------------------------------------------------------------------------- the rest


def test_wls_is_dipys():
    dti = pytest.importorskip("dipy.reconst.dti")
    table = pytest.importorskip("dipy.core.gradients")
    scan = simulate_scan(uniform(), same_grid(shells=(Shell(b=1000, directions=12),)), Noise(snr=15))
    y = scan.signal.reshape(-1, 13)[:500]
    gradients = table.gradient_table(scan.bvals, bvecs=scan.bvecs)
    fit = dti.TensorModel(gradients, fit_method="WLS", min_signal=1e-4).fit(y)
    ours = wls(y, scan.bvals / 1000, scan.bvecs)[:, 1:]
    positive = fit.evals[:, 2] > 1e-5  # DIPY clips the others
    assert positive.sum() > 400
    assert np.allclose(ours[positive], 1000 * from_matrix(fit.quadratic_form[positive]), atol=1e-5)


@pytest.mark.parametrize("name", profile_names())
def test_profiles_name_a_basis_for_every_value(name):
    profile = read_profile(name)
    for label, value in profile.values.items():
        assert value.basis in ("source", "recalled", "guess")
        assert value.basis == "guess" or value.source, label
    scan = simulate_scan(uniform((6, 6, 4)), profile.protocol, profile.noise)
    assert scan.signal.shape[-1] == profile.protocol.b0 + sum(s.directions for s in profile.protocol.shells)


def test_all_five_fields_have_a_profile():
    assert set(profile_names()) == {"0.05T", "64mT", "0.55T", "1.5T", "3T"}

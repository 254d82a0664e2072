"""The digital head: its truth is what it says it is, and it is built like a head."""

import numpy as np
import pytest

from edge_pigment.phantom import LESIONS, TISSUES, make_phantom
from edge_pigment.phantom.head import axisymmetric
from edge_pigment.phantom.shapes import ellipsoid, grid_waves, tube, waves
from edge_pigment.phantom.tracts import association, corpus_callosum, corticospinal
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import quadratic_form, to_matrix
from edge_pigment.simulate.directions import electrostatic

VOXEL = 3.0


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(VOXEL)


def at(phantom, *mm):
    """Voxel that holds a point."""
    return tuple(np.round((np.array(mm) - phantom.subject.affine[:3, 3]) / VOXEL).astype(int))


def tensor_fit(phantom, b=1.0):
    """Log-linear tensors of every brain voxel from 20 noise-free directions."""
    g = np.vstack([[1, 0, 0], electrostatic(20)])
    bs = np.array([0.0] + [b] * 20)
    y = np.stack([phantom.subject.signal(v, d) for v, d in zip(bs, g, strict=True)], axis=-1)
    X = np.concatenate([np.ones((21, 1)), -bs[:, None] * quadratic_form(g)], axis=1)
    return np.log(np.maximum(y, 1e-6)) @ np.linalg.pinv(X).T


@pytest.fixture(scope="module")
def fit(phantom):
    return tensor_fit(phantom)


def test_fractions_and_brain_are_volume_fractions(phantom):
    f = phantom.fractions
    assert f.min() >= 0
    assert f.sum(-1).max() < 1 + 1e-5
    assert phantom.subject.brain.max() < 1 + 1e-5


def test_tissue_volumes_are_those_of_a_head(phantom):
    ml = phantom.fractions.sum((0, 1, 2)) * VOXEL**3 / 1000
    volume = dict(zip(TISSUES, ml, strict=True))
    assert 400 < volume["cortex"] < 800
    assert 350 < volume["white matter"] < 800
    assert 15 < volume["deep grey"] < 60
    assert 100 < volume["csf"] < 600


def test_labels_name_the_largest_tissue(phantom):
    labels = phantom.labels
    assert labels[at(phantom, 11, -17, 5)] == 1 + TISSUES.index("deep grey")
    assert labels[at(phantom, 10, 20, 12)] == 1 + TISSUES.index("csf")
    assert labels[at(phantom, 0, -4, 24)] == 1 + TISSUES.index("white matter")
    assert labels[0, 0, -1] == 0


def test_affine_is_ras(phantom):
    assert np.linalg.det(phantom.subject.affine[:3, :3]) > 0
    assert np.allclose(np.diag(phantom.subject.affine), [VOXEL, VOXEL, VOXEL, 1])


@pytest.mark.parametrize(
    ("place", "axis"),
    [((0, -4, 24), (1, 0, 0)), ((5.5, -24, -45), (0, 0, 1)), ((45, -8, -19), (0, 1, 0))],
    ids=["callosum left-right", "corticospinal up-down", "longitudinal front-back"],
)
def test_tracts_run_as_in_a_head(phantom, fit, place, axis):
    D = fit[at(phantom, *place)][1:]
    _, vectors = np.linalg.eigh(to_matrix(D))
    assert abs(vectors[:, 2] @ axis) > np.cos(np.radians(35))


def test_three_tracts_cross_in_the_centrum_semiovale():
    axes = np.arange(20, 40, 2.0), np.arange(-30, 20, 2.0), np.arange(24, 44, 2.0)
    p = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3).astype(np.float32)
    shares = np.stack([tract(p).share for tract in (corpus_callosum, corticospinal, association)])
    assert np.sum(np.all(shares > 0.3, axis=0)) > 5


def test_crossing_fibres_are_a_mixture_not_a_tensor(phantom):
    """The apparent diffusivity of a mixture falls with b, a tensor's does not."""
    low, high = tensor_fit(phantom, 0.2), tensor_fit(phantom, 2.0)
    white = phantom.fractions[..., TISSUES.index("white matter")] > 0.99
    change = (high - low)[white][:, 1:4].mean(-1) / low[white][:, 1:4].mean(-1)
    assert np.percentile(change, 10) < -0.04


@pytest.mark.parametrize("lesion", LESIONS, ids=lambda lesion: lesion.name)
def test_lesions_lie_in_white_matter_and_have_their_water(phantom, fit, lesion):
    inside = phantom.lesions[lesion.name] > 0.99
    assert phantom.fractions[inside][:, TISSUES.index("white matter")].min() > 0.9
    values = np.linalg.eigvalsh(to_matrix(fit[inside][:, 1:]))
    assert np.allclose(values.mean(-1), (lesion.water.along + 2 * lesion.water.across) / 3, rtol=1e-2)
    assert phantom.lesions[lesion.name].sum() * VOXEL**3 == pytest.approx(4 / 3 * np.pi * lesion.radius**3, rel=0.1)


def test_lesions_change_md_both_ways_and_lower_fa(phantom, fit):
    raised, lowered = (phantom.lesions[item.name] > 0.99 for item in LESIONS)
    white = (phantom.fractions[..., TISSUES.index("white matter")] > 0.99) & ~raised & ~lowered
    values = np.linalg.eigvalsh(to_matrix(fit[..., 1:]))
    MD, FA = values.mean(-1), fractional_anisotropy(values)
    assert MD[raised].mean() > 1.4 * MD[white].mean()
    assert MD[lowered].mean() < 0.7 * MD[white].mean()
    assert FA[raised].mean() < 0.5 * FA[white].mean()


def test_same_seed_same_head_other_seed_other_folds(phantom):
    again, other = make_phantom(5.0, seed=3), make_phantom(5.0, seed=4)
    assert np.array_equal(make_phantom(5.0, seed=3).fractions, again.fractions)
    assert not np.allclose(again.fractions, other.fractions)


def test_axisymmetric_tensor_has_the_given_eigenvalues():
    v = np.array([[0.6, 0, 0.8]], np.float32)
    D = axisymmetric(v, np.array([1.7]), np.array([0.3]))
    values, vectors = np.linalg.eigh(to_matrix(D[0]))
    assert np.allclose(values, [0.3, 0.3, 1.7], atol=1e-6)
    assert abs(vectors[:, 2] @ v[0]) == pytest.approx(1)


def test_ellipsoid_distance_is_exact_for_a_sphere_and_first_order_else():
    p = np.array([[5, 0, 0], [0, 0, 1], [3, 4, 0]], np.float32)
    assert np.allclose(ellipsoid(p, (0, 0, 0), (2, 2, 2)), [3, -1, 3], atol=1e-5)
    surface = np.array([[10.1, 0, 0], [0, 20.1, 0], [0, 0, 29.9]], np.float32)
    assert np.allclose(ellipsoid(surface, (0, 0, 0), (10, 20, 30)), [0.1, 0.1, -0.1], atol=2e-3)


def test_tube_follows_its_curve():
    p = np.array([[0, 0.5, 0], [10, 0, 0], [10, 0, 5]], np.float32)
    near = tube(p, [(0, 0, 0, 2), (10, 0, 0, 2), (20, 0, 0, 2)])
    assert list(near.voxels) == [0, 1]
    assert np.allclose(near.u, [0.25, 0], atol=1e-5)
    assert np.allclose(near.tangent, [[1, 0, 0], [1, 0, 0]], atol=1e-5)


def test_grid_texture_is_the_texture_at_the_grid_points():
    axes = tuple(np.arange(n, dtype=np.float32) * 3 for n in (4, 5, 6))
    p = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    a = grid_waves(axes, 20, 6, np.random.default_rng(1))
    b = waves(p, 20, 6, np.random.default_rng(1))
    assert np.allclose(a, b, atol=1e-4)

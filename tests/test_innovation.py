"""Where the prior steps back: what counts as not foretold, and what is left of a prior that stepped back."""

import numpy as np
import pytest

from conftest import DIRECTIONS_6, draw_head
from edge_pigment import adapt as adapt_module
from edge_pigment.adapt import Measurements, adapt
from edge_pigment.innovation import LEAST_TISSUE, UNKNOWN, Innovation, _ball, _square, innovation, step_back
from edge_pigment.interpolation import WHOLE
from edge_pigment.maps import voxel_maps
from edge_pigment.physics.adaptation import DIAGONAL, PACKED
from edge_pigment.physics.backend import Summary
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.loosening import precision_of_log_md
from edge_pigment.physics.tensor import quadratic_form
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession

MD = 0.8
SD_OF_DATA, SD_OF_PRIOR = 0.08, 0.06
"""Of log MD."""


SQUARE = [(0, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
BALL = [o for o in np.ndindex(3, 3, 3) if sum((k - 1) ** 2 for k in o) <= 2]
BALL = [tuple(k - 1 for k in o) for o in BALL]


def mask_of(shape=(9, 40, 40)):
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    return z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < 1.2


def scene(mask, rng, factor=None, bias=0.0, sd=SD_OF_DATA, size=1.0):
    """Summary, mean and precision factor: data and prior err by chance, MD is isotropic and multiplied by factor."""
    V = int(mask.sum())
    mean = np.zeros((7, V), np.float32)
    foretold = MD * np.exp(SD_OF_PRIOR * rng.normal(size=V))
    mean[1:4] = np.sqrt(foretold)
    L = np.zeros((PACKED, V), np.float32)
    L[list(DIAGONAL)] = 10
    # v = Q/2 along the three diagonal elements: 1/sd² = 3 (q/2)² L²
    for row in DIAGONAL[1:4]:
        L[row] = 2 / (np.sqrt(3 * foretold) * SD_OF_PRIOR)
    md = MD * (1 + bias + size * sd * rng.normal(size=V))
    if factor is not None:
        md *= factor[mask]
    theta = np.zeros((7, V), np.float32)
    theta[1:4] = md
    spread = np.full((7, V), sd * MD / 0.55, np.float32)
    return Summary(theta, spread), mean, L


def ball_in(mask, diameter=3):
    grid = np.indices(mask.shape) - np.reshape([4, 20, 18], (3, 1, 1, 1))
    return mask & ((grid**2).sum(0) <= (diameter / 2) ** 2)


def test_in_healthy_tissue_it_is_about_normal():
    mask = mask_of()
    found = innovation(*scene(mask, np.random.default_rng(0)), mask)
    assert found.own.std() == pytest.approx(1, abs=0.05)
    assert np.median(np.abs(found.ball)) == pytest.approx(1.95, abs=0.25)  # the best of many is not normal
    assert np.mean(np.abs(found.ball) > 3.2) < 0.03
    assert np.all(found.say == 1)


def test_a_ball_tells_what_no_voxel_tells():
    mask, inside = mask_of(), ball_in(mask_of())
    change = np.where(inside, 1.25, 1.0)
    found = innovation(*scene(mask, np.random.default_rng(1), change), mask)
    ill = inside[mask]
    own, ball = (np.sort(np.abs(each)[~ill]) for each in (found.own, found.ball))
    ranks = [np.searchsorted(a, np.abs(b)[ill]).mean() / len(a) for a, b in ((own, found.own), (ball, found.ball))]
    assert ranks[0] < 0.97 < 0.995 < ranks[1]
    assert np.all(found.ball[ill] > 3.2)
    lowered = innovation(*scene(mask, np.random.default_rng(1), np.where(inside, 0.75, 1.0)), mask)
    assert np.all(lowered.ball[ill] < -3.2)


def test_a_scan_that_errs_everywhere_is_not_full_of_lesions():
    mask = mask_of()
    plain = innovation(*scene(mask, np.random.default_rng(2)), mask)
    biased = innovation(*scene(mask, np.random.default_rng(2), bias=0.08), mask)
    louder = innovation(*scene(mask, np.random.default_rng(2), size=2.0), mask)
    assert np.mean(np.abs(biased.ball) > 3.2) < np.mean(np.abs(plain.ball) > 3.2) + 0.01
    assert np.mean(np.abs(louder.ball) > 3.2) < 0.04


def test_one_loud_voxel_is_not_a_ball():
    mask = mask_of()
    loud = np.ones(mask.shape)
    loud[4, 20, 18] = 4.0
    found = innovation(*scene(mask, np.random.default_rng(3), loud), mask)
    at = np.flatnonzero((np.argwhere(mask) == (4, 20, 18)).all(1))
    assert found.own[at] > 3.5
    assert abs(found.ball[at]) < 3.2


@pytest.mark.parametrize("combine", [np.add, np.maximum, np.minimum])
@pytest.mark.parametrize(("over", "offsets"), [(_square, SQUARE), (_ball, BALL)])
def test_neighbours_are_those_of_a_loop_and_as_far_apart_as_told(over, offsets, combine):
    image = np.random.default_rng(4).normal(size=(4, 11, 13)).astype(np.float32)
    found = over(image, combine, WHOLE)
    for at in np.ndindex(image.shape):
        there = [tuple(np.add(at, o)) for o in offsets]
        values = [image[p] for p in there if all(0 <= k < n for k, n in zip(p, image.shape, strict=True))]
        assert found[at] == pytest.approx(combine.reduce(values), abs=1e-5)
    grid = (slice(1, None, 2), slice(1, None, 3), slice(None, None, 2))
    if over is _square:
        grid = (slice(None), *grid[1:])
    apart = over(image, combine, (2, 3, 2 if over is _ball else 1))
    np.testing.assert_allclose(apart[grid], over(image[grid], combine, WHOLE), atol=1e-5)


@pytest.mark.parametrize("voxels", [0, 1, LEAST_TISSUE - 1])
def test_hardly_any_voxels_are_no_failure(voxels):
    mask = np.zeros((1, 5, 5), bool)
    mask.ravel()[:voxels] = True
    found = innovation(*scene(mask, np.random.default_rng(5)), mask)
    assert all(np.all(np.isfinite(each)) and len(each) == voxels for each in found)


def test_what_is_measured_badly_has_no_say():
    mask = mask_of()
    assert not innovation(*scene(mask, np.random.default_rng(6), sd=0.45), mask).say.max() > 0.7
    found = innovation(*scene(mask, np.random.default_rng(6), sd=0.45, size=0.0), mask)
    assert not found.say.any()


def whole(V, own=0.0, box=0.0, ball=0.0, say=1.0):
    return Innovation(*(np.full(V, each, np.float32) for each in (own, box, ball, say)))


def test_the_prior_steps_back_along_md_and_as_far_as_it_should():
    mask = mask_of()
    _, mean, factor = scene(mask, np.random.default_rng(7))
    V = mask.sum()
    np.testing.assert_array_equal(step_back(mean, factor, whole(V, 1.5, 1.8, 1.8)), factor)
    np.testing.assert_array_equal(step_back(mean, factor, whole(V, 9, 9, 9, 0)), factor)
    half = step_back(mean, factor, whole(V, ball=-2.55))
    for back, sd in ((step_back(mean, factor, whole(V, ball=-9)), UNKNOWN), (half, UNKNOWN / 2)):
        np.testing.assert_allclose(precision_of_log_md(list(mean), list(back)) ** -0.5, sd, rtol=1e-4)
        assert np.array_equal(back[0], factor[0])  # log S0 is known as before


def test_more_of_small_lesions_is_left(monkeypatch):
    head = draw_head((40, 48, 24), 3.8)
    mask, b, rng = head.brain, np.r_[0.0, np.ones(6)].astype(np.float32), np.random.default_rng(8)
    g = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6]).astype(np.float32)
    white = np.argwhere(head.white & ~head.ventricles)
    balls = np.zeros_like(mask)
    grid = np.indices(mask.shape)
    for centre in white[rng.permutation(len(white))[:25]]:
        balls |= ((grid - centre.reshape(3, 1, 1, 1)) ** 2).sum(0) <= 2.25
    balls &= head.white & ~head.ventricles
    noise = rng.normal(size=(2, 7, *mask.shape)) / 20
    backend, network = HostBackend(2), ContextSession(load_bundle(), 2)

    def md(factor):
        D = head.D * np.where(balls, factor, 1)[..., None]
        y = head.S0 * np.exp(-b[:, None, None, None] * np.moveaxis(D @ quadratic_form(g).T, -1, 0))
        y = np.hypot(y + noise[0], noise[1])[:, mask].astype(np.float32)
        m = Measurements(y, b, g, np.full(y.shape[1], 0.05, np.float32), 1.0, mask)
        return voxel_maps(adapt(m, backend, network, 5.0).outcome, 1.0, 5.0)["MD"] * 1000

    def left(factor):
        true = (factor - 1) * head.D[..., :3].mean(-1)[balls]
        return (md(factor) - md(1.0))[balls[mask]].sum() / true.sum()

    stepping = left(1.4)
    monkeypatch.setattr(adapt_module, "step_back", lambda mean, factor, found: factor)
    assert stepping > 0.9
    assert stepping > left(1.4) + 0.02

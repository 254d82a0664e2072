"""Learning of the test for altered tissue: what is changed, what is learned, and whose scale it has."""

import numpy as np

from edge_pigment.alteration import FEATURES
from edge_pigment_prior import alterations
from edge_pigment_prior.alterations import LEAST_CHANGE, Head, alter, coarsened, learn
from edge_pigment_prior.references import Reference


def test_only_tissue_is_altered_and_by_more_than_the_least_change():
    rng = np.random.default_rng(0)
    theta = np.zeros((7, 8, 40, 40), np.float32)
    theta[1:4] = 0.8
    theta[1:4, :, :, 30:] = 2.8
    mask = np.ones(theta.shape[1:], bool)
    mask[:, :5] = False
    before = theta.copy()
    size = alter(theta, mask, rng)
    altered = size > 0
    change = np.abs(np.log(theta[1:4].mean(0) / before[1:4].mean(0)))
    assert altered.any()
    assert not altered[:, :5].any()
    assert not altered[..., 30:].any()
    assert np.all(change[altered] > LEAST_CHANGE - 1e-3)
    np.testing.assert_array_equal(theta[:, ~altered], before[:, ~altered])
    whole = np.unique(size[altered])
    assert np.all([(size == n).sum() % n == 0 for n in whole])  # so many voxels say that they are so many


def scans(rng, wide):
    """Healthy and altered scans of a head: the first feature tells them apart, and spreads more in some heads."""
    for ill in (True, True, False):
        x = rng.normal(size=(3000, FEATURES)).astype(np.float32)
        x[:, 0] *= wide
        where = (rng.random(3000) < 0.1) & ill
        x[where, 0] += 6
        yield x, 9 * where


def test_small_changes_are_learned_beside_large_ones(monkeypatch):
    monkeypatch.setattr(alterations, "STEPS", 300)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12_000, FEATURES)).astype(np.float32)
    size = np.select([np.arange(12_000) < 40, np.arange(12_000) < 2000], [8, 800], 0)
    x[size == 8, 1] += 5
    x[size == 800, 0] += 5
    odds = alterations.fit([Head("a", x, size)], 0).odds(x)
    monkeypatch.setattr(alterations, "SIZE_POWER", 0.0)
    even = alterations.fit([Head("a", x, size)], 0).odds(x)
    least = np.quantile(odds[size == 0], 0.95), np.quantile(even[size == 0], 0.95)
    assert np.median(odds[size == 800]) > least[0]
    assert np.median((odds - least[0])[size == 8]) > np.median((even - least[1])[size == 8])
    assert np.mean(odds[size == 8] > least[0]) > 0.9


def test_it_learns_and_has_the_scale_of_heads_that_it_did_not_learn_from(monkeypatch):
    monkeypatch.setattr(alterations, "STEPS", 150)
    monkeypatch.setattr(alterations, "LEAST_HEALTHY", 1000)
    rng = np.random.default_rng(1)
    found = [Head(name, *scan) for name in ("a", "b", "c") for scan in scans(rng, 1.0)]
    test = learn(found, 0)
    x, size = next(scans(rng, 1.0))
    where = size > 0
    score = np.interp(test.odds(x), test.log_odds, test.normal)
    assert np.mean(score[where] > np.quantile(score[~where], 0.99)) > 0.9
    assert abs(np.mean(score[~where] > 1.645) - 0.05) < 0.03


def test_a_noisy_reference_is_averaged_until_it_is_not():
    rng = np.random.default_rng(2)
    theta = rng.normal(size=(7, 9, 12, 13)).astype(np.float32)
    mask = np.ones(theta.shape[1:], bool)
    noisy = Reference("sub-a", theta, mask, (1.0, 1.0, 2.0), 0.05, 0.1)
    coarse = coarsened(noisy)
    assert coarse.mask.shape == (4, 6, 6)
    assert coarse.voxel_size == (2.0, 2.0, 4.0)
    assert coarse.sd < 0.04
    np.testing.assert_allclose(coarse.theta[:, 0, 0, 0], theta[:, :2, :2, :2].mean((1, 2, 3)), atol=1e-6)
    assert coarsened(coarse) is coarse

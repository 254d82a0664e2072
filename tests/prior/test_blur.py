"""Blur along one axis: a point spreads as a Lorentzian, and neither the mask's rim nor what is even changes."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment_prior.blur import along_axis, blur

FULL = np.ones((3, 20, 20), bool)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_point_spreads_along_the_axis_alone(axis):
    theta = np.zeros((7, *FULL.shape), np.float32)
    theta[:, 1, 10, 10] = 1
    found = np.moveaxis(along_axis(theta, FULL, axis, 1.0), 1 + axis, -1)
    line = found[0, 1, 10]
    assert found.sum() == pytest.approx(7 * line.sum())
    assert line.sum() == pytest.approx(1, abs=0.01)
    assert line[9] == line[11] == pytest.approx(line[10] / 5, rel=1e-5)  # 1 / (1 + (2 / 1)²)


def test_even_tissue_stays_even_to_the_rim():
    mask = np.random.default_rng(0).random(FULL.shape) < 0.6
    theta = np.full((7, *FULL.shape), 2, np.float32) * mask
    np.testing.assert_allclose(along_axis(theta, mask, 1, 1.5), theta, rtol=1e-5)


def test_some_patches_are_blurred():
    theta = np.random.default_rng(0).random((7, *FULL.shape), np.float32)
    changed = [(blur(theta, FULL, np.random.default_rng(seed)) != theta).any() for seed in range(60)]
    assert 5 < sum(changed) < 40

"""The prior of an interpolated scan looks only at voxels whose noise is independent."""

import numpy as np

from edge_pigment.interpolation import WHOLE, interleaved_prior
from edge_pigment.physics.backend import Summary


class Neighbours:
    """Stands for a network: the prior mean of a voxel is the sum of its neighbours' log S0 in its row."""

    def prior(self, summary, mask, progress=None):
        image = np.zeros(mask.shape, np.float32)
        image[mask] = summary.theta[0]
        padded = np.pad(image, [(0, 0), (0, 0), (1, 1)])
        total = padded[:, :, :-2] + padded[:, :, 2:]
        mean = np.zeros((7, mask.sum()), np.float32)
        mean[0] = total[mask]
        factor = np.zeros((28, mask.sum()), np.float32)
        factor[0] = np.arange(mask.sum())
        return mean, factor


def test_each_grid_sees_only_itself_and_lands_where_it_came_from():
    rng = np.random.default_rng(1)
    mask = rng.random((3, 9, 8)) < 0.7
    theta = rng.normal(size=(7, mask.sum())).astype(np.float32)
    told = []
    mean, _ = interleaved_prior(Neighbours(), Summary(theta, np.ones_like(theta)), mask, (2, 2, 1), told.append)
    image = np.zeros(mask.shape)
    image[mask] = theta[0]
    padded = np.pad(image, [(0, 0), (0, 0), (2, 2)])
    np.testing.assert_allclose(mean[0], (padded[:, :, :-4] + padded[:, :, 4:])[mask], rtol=1e-5)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_one_grid_is_the_network_itself():
    mask = np.ones((1, 2, 5), bool)
    theta = np.arange(70, dtype=np.float32).reshape(7, 10)
    summary = Summary(theta, np.ones_like(theta))
    found, expected = interleaved_prior(Neighbours(), summary, mask, WHOLE), Neighbours().prior(summary, mask)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_slices_are_taken_apart_as_well():
    """Where the steps are those of slices only, each voxel of a row sees its row as it is."""
    mask = np.ones((5, 3, 6), bool)
    theta = np.random.default_rng(2).normal(size=(7, mask.sum())).astype(np.float32)
    summary = Summary(theta, np.ones_like(theta))
    told = []
    found = interleaved_prior(Neighbours(), summary, mask, (1, 1, 3), told.append)
    expected = Neighbours().prior(summary, mask)
    np.testing.assert_array_equal(found[0][0], expected[0][0])
    assert len(told) == 3

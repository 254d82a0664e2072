"""Zero-filled scans are found, and their prior looks only at voxels whose noise is independent."""

import numpy as np
import pytest

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.interpolation import interleave_of, interleaved_prior
from edge_pigment.physics.backend import Summary

BVECS = np.array([[0, 0, 0], [1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]) / np.sqrt(2)
BVALS = np.r_[0, np.full(6, 1000.0)]


def zero_fill(image, factor):
    """(X, Y, ...) complex, on factor times as many voxels along the first two axes."""
    space = np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1))
    pad = [(int(n * (factor - 1)) // 2,) * 2 for n in image.shape[:2]] + [(0, 0)] * (image.ndim - 2)
    return np.fft.ifft2(np.fft.ifftshift(np.pad(space, pad), axes=(0, 1)), axes=(0, 1)) * factor**2


def scan(factor, snr=10, shape=(48, 48, 6)):
    """A disc with noise on the acquired matrix, zero-filled in plane."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij"))
    inside = np.broadcast_to((np.sum(grid**2, axis=0) < 0.8)[..., None], shape)
    signal = inside[..., None] * np.exp(-BVALS * 8e-4)
    noise = (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape)) / snr
    image = np.abs(zero_fill(signal + noise, factor))
    return Acquisition(image, GradientTable(BVALS, BVECS), np.eye(4)), zero_fill(inside, factor).real > 0.8


@pytest.mark.parametrize(("factor", "snr", "step"), [(1, 5, 1), (1, 30, 1), (1.5, 10, 1), (2, 5, 2), (2, 30, 2)])
def test_twofold_zero_filling_is_found(factor, snr, step):
    assert interleave_of(*scan(factor, snr)) == step


def test_an_image_too_small_to_tell_is_left_whole():
    acquisition, mask = scan(1, shape=(3, 3, 1))
    assert interleave_of(acquisition, np.ones_like(mask)) == 1


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
    mean, _ = interleaved_prior(Neighbours(), Summary(theta, np.ones_like(theta)), mask, 2, told.append)
    image = np.zeros(mask.shape)
    image[mask] = theta[0]
    padded = np.pad(image, [(0, 0), (0, 0), (2, 2)])
    np.testing.assert_allclose(mean[0], (padded[:, :, :-4] + padded[:, :, 4:])[mask], rtol=1e-5)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_one_grid_is_the_network_itself():
    mask = np.ones((1, 2, 5), bool)
    theta = np.arange(70, dtype=np.float32).reshape(7, 10)
    summary = Summary(theta, np.ones_like(theta))
    found, expected = interleaved_prior(Neighbours(), summary, mask, 1), Neighbours().prior(summary, mask)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])

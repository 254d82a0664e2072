"""Rounded weights keep a layer's output, not its weights; and neighbours within 16 bits."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the workshop extra is not installed")

from edge_pigment_export.rounding import LARGEST, PAIR, fit, round_weights


@pytest.fixture(scope="module")
def layer():
    """Inputs that are alike (each a mixture of few sources, and above 0), weights, and the outputs."""
    rng = np.random.default_rng(0)
    sources = rng.normal(size=(4000, 8))
    inputs = np.round(np.maximum(sources @ rng.normal(size=(8, 48)) * 40 + rng.normal(size=(4000, 48)), 0))
    weight = rng.normal(size=(6, 48))
    return inputs, weight, inputs @ weight.T + 3


def error(rounded, inputs, wanted):
    found = inputs @ (rounded.weight * rounded.scale[:, None]).T + rounded.bias
    return np.mean((found - wanted) ** 2)


@pytest.mark.parametrize(("pairs", "share"), [(False, 0.3), (True, 0.7)])
def test_the_output_is_kept_better_than_by_rounding_each_weight(layer, pairs, share):
    inputs, weight, wanted = layer
    rounded = round_weights(inputs, wanted, weight, pairs)
    nearest = np.round(weight / rounded.scale[:, None]) * rounded.scale[:, None]
    plain = np.mean((inputs @ (nearest - weight).T) ** 2)
    assert error(rounded, inputs, wanted) < share * plain
    found = inputs @ (rounded.weight * rounded.scale[:, None]).T + rounded.bias
    np.testing.assert_allclose(found.mean(0), wanted.mean(0), rtol=1e-6)


def test_neighbours_of_one_sign_stay_within_a_pair(layer):
    inputs, weight, wanted = layer
    alike = np.abs(weight)  # all of one sign: the worst case
    rounded = round_weights(inputs, inputs @ alike.T, alike, pairs=True)
    q = rounded.weight.astype(int)
    for part in (np.maximum(q, 0), np.maximum(-q, 0)):
        assert (part[:, ::2] + part[:, 1::2]).max() <= PAIR
    assert np.abs(round_weights(inputs, wanted, weight, pairs=False).weight).max() == LARGEST


def test_weights_are_fitted_to_the_inputs_as_they_are(layer):
    inputs, weight, wanted = layer
    weak = 0.9 * inputs  # what earlier layers' rounding took away
    fitted = fit(weak, wanted, weight)

    def spread(w):
        return np.var(wanted - weak @ w.T, axis=0).sum()

    assert spread(fitted) < 0.01 * spread(weight)

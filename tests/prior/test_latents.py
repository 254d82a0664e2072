"""Other coordinates of the latent: there and back, and the volumes that a density is compared by."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from test_patches import striped

from edge_pigment_prior.latents import KINDS, _mapped, compare
from edge_pigment_prior.network import ContextPrior
from edge_pigment_prior.train import Settings

SMALL = Settings(steps=2, batch=1, width=8, wide_width=8, depth=1, head=8, unknown_md=0.0, bf16=False)


def roots(count=20):
    """Latents whose roots have eigenvalues of 0.4 to 1.6."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    q = rng.uniform(0.4, 1.6, (count, 3))
    Q = (vectors * q[:, None]) @ vectors.transpose(0, 2, 1)
    rows, columns = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
    return torch.tensor(np.concatenate([rng.normal(size=(count, 1)), Q[:, rows, columns]], axis=1))


@pytest.mark.parametrize("kind", KINDS.values())
def test_there_and_back_is_nothing(kind):
    model, z = kind(8, 8, 1, 8), roots()
    torch.testing.assert_close(_mapped(model.targets(z), model.to_root), z)


@pytest.mark.parametrize("kind", KINDS.values())
def test_volumes_are_those_of_the_jacobian(kind):
    model, z = kind(8, 8, 1, 8), roots()
    for one in z:
        jacobian = torch.autograd.functional.jacobian(lambda x: model.targets(x[None])[0], one)
        expected = torch.linalg.slogdet(jacobian)[1]
        assert float(model.log_volume(one[None])[0]) == pytest.approx(float(expected), abs=1e-6)


def test_equal_eigenvalues_have_a_volume():
    sphere = torch.tensor([[0.0, 0.9, 0.9, 0.9, 0.0, 0.0, 0.0]], dtype=torch.float64)
    for kind in KINDS.values():
        expected = 6 * torch.log(kind.slope(torch.tensor(0.9, dtype=torch.float64)))
        assert float(kind(8, 8, 1, 8).log_volume(sphere)[0]) == pytest.approx(float(expected), abs=1e-3)


def test_what_knows_nothing_is_the_same_tensor_in_all():
    for kind in KINDS.values():
        model = kind(8, 8, 1, 8)
        tensor = _mapped(model.offset.reshape(1, 7), model.to_root)
        np.testing.assert_allclose(tensor[0, 1:4], 0.9, atol=1e-6)


def test_the_shipped_coordinates_are_left_as_they_are():
    z = roots()
    assert ContextPrior(8, 8, 1, 8).targets(z) is z


def test_each_is_trained_and_judged(tmp_path):
    reference = replace(striped([3, -2, 1.5]), sd=0.01)
    rows = compare([reference], [reference], tmp_path, SMALL, 10)
    assert [row["variant"] for row in rows] == list(KINDS)
    assert all(np.isfinite(v) for row in rows for v in list(row.values())[1:])
    assert len({row["log density"] for row in rows}) == len(KINDS)

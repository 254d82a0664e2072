"""The network is blind to the voxel it predicts, and its loss is the density that the adaptation uses."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.physics.adaptation import unpack
from edge_pigment.prior.features import CHANNELS, VOXEL_CHANNELS
from edge_pigment_prior.network import ContextPrior, student_nll

OWN = slice(VOXEL_CHANNELS, 2 * VOXEL_CHANNELS)


def random_network():
    torch.manual_seed(1)
    model = ContextPrior().double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.2)
    return model


@pytest.mark.parametrize("at", [(0, 0), (3, 17), (15, 15), (31, 30)])
def test_no_gradient_from_a_voxel_to_itself(at):
    model = random_network()
    x = torch.randn(1, CHANNELS, 32, 32, dtype=torch.double, requires_grad=True)
    mean, factor = model(x)
    (mean[0, :, at[0], at[1]].sum() + factor[0, :, at[0], at[1]].sum()).backward()
    own = x.grad[0, OWN, at[0], at[1]]
    assert torch.all(own == 0)
    assert torch.count_nonzero(x.grad[0, OWN]) > 100  # and it does see the surroundings
    assert torch.count_nonzero(x.grad[0, : OWN.start, at[0], at[1]]) > 0


def test_changing_a_voxel_leaves_its_own_prior_bitwise():
    model = random_network().float()
    x = torch.randn(1, CHANNELS, 24, 24)
    changed = x.clone()
    changed[0, OWN, 11, 12] += 100
    with torch.no_grad():
        before, after = model(x), model(changed)
    for b, a in zip(before, after, strict=True):
        assert torch.equal(b[0, :, 11, 12], a[0, :, 11, 12])
        assert not torch.equal(b[0, :, 11, 13], a[0, :, 11, 13])


def test_loss_is_the_students_t_of_the_adaptation():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(50, 28))
    factor[:, [r * (r + 3) // 2 for r in range(7)]] = rng.uniform(0.5, 3, (50, 7))
    mean, z, nu = rng.normal(size=(50, 7)), rng.normal(size=(50, 7)), 5.0
    L = unpack(factor)
    distance = np.einsum("vij,vi->vj", L, z - mean)
    expected = 0.5 * (nu + 7) * np.log1p((distance**2).sum(1) / nu) - np.linalg.slogdet(L)[1]
    loss = student_nll(*(torch.from_numpy(a) for a in (mean, factor, z)), nu)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-10)


def test_cost_stays_within_the_budget():
    assert ContextPrior().macs() <= 200_000

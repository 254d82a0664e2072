"""The network is blind to the voxel it predicts, and its loss is the density that the adaptation uses."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.physics.adaptation import DIAGONAL, unpack
from edge_pigment.prior.features import CHANNELS, SD_SCALE, VOXEL_CHANNELS
from edge_pigment_prior.loosening import SD_OF_MD, floor, loosen
from edge_pigment_prior.network import ContextPrior, Embedding, student_nll

OWN = slice(VOXEL_CHANNELS, 2 * VOXEL_CHANNELS)


def random_network(gates=32):
    torch.manual_seed(1)
    model = ContextPrior(gates=gates).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.2)
    return model


@pytest.mark.parametrize("gates", [32, 0])
@pytest.mark.parametrize("at", [(0, 0), (3, 17), (15, 15), (31, 30)])
def test_no_gradient_from_a_voxel_to_itself(at, gates):
    model = random_network(gates)
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


def test_the_embedding_is_of_each_voxel_alone_and_0_outside_the_mask():
    torch.manual_seed(0)
    embedding = Embedding(5, 7)
    x = torch.randn(1, CHANNELS, 6, 6)
    x[:, :, 2] = 0
    out = embedding(x)
    assert torch.all(out[:, :, 2] == 0)
    assert torch.count_nonzero(out[:, :, 3]) == 15 * 6
    shuffled = torch.cat([x[:, OWN], x[:, VOXEL_CHANNELS * 2 :], x[:, :VOXEL_CHANNELS]], dim=1)
    expected = torch.cat([out[:, 5:10], out[:, 10:], out[:, :5]], dim=1)
    assert torch.allclose(embedding(shuffled), expected, atol=1e-6)  # whichever slice it lies in


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


def precision(factor):
    L = unpack(factor)
    return L @ np.swapaxes(L, -1, -2)


def test_loosening_takes_away_what_is_known_of_md_and_nothing_else():
    sd, rng = 0.25, np.random.default_rng(0)
    mean, factor = rng.normal(size=(200, 7)), 5 * rng.normal(size=(200, 28))
    factor[:, list(DIAGONAL)] = np.exp(rng.uniform(-2, 5, (200, 7)))
    factor[:20] *= 0.01  # voxels of which the prior knows less already
    before = precision(factor)
    tensors = [torch.tensor(a)[:, :, None, None] for a in (mean, factor)]
    after = precision(loosen(*tensors, torch.full((200, 1, 1), sd))[:, :, 0, 0].numpy())
    v = 0.5 * mean
    v[:, 0] = 0
    known = np.einsum("vi,vij,vj->v", v, before, v)
    np.testing.assert_allclose(np.einsum("vi,vij,vj->v", v, after, v), np.minimum(known, 1 / sd**2), rtol=1e-9)
    assert (known < 1 / sd**2).sum() > 5
    assert torch.equal(loosen(*tensors, torch.zeros(200, 1, 1)), tensors[1])
    # what is orthogonal to v, in the sense of the precision, is known as before
    x = rng.normal(size=(200, 7))
    x -= (np.einsum("vi,vij,vj->v", v, before, x) / known)[:, None] * v
    expected = np.einsum("vij,vj->vi", before, x)
    np.testing.assert_allclose(np.einsum("vij,vj->vi", after, x), expected, atol=1e-9 * np.abs(expected).max())


def summaries(log_sd_of_d, mask):
    """Features (1, 45, H, W) whose diagonal elements are known to an sd."""
    x = torch.zeros(1, CHANNELS, *mask.shape)
    x[0, OWN][8:11] = SD_SCALE * log_sd_of_d * mask
    x[0, OWN][-1] = mask
    return x


@pytest.mark.parametrize(
    ("snr", "expected"), [(200, 0.017), (55, 0.061), (20, 0.167), (10, 0.25), (6.1, 0.125), (4, 0.0)]
)
def test_the_floor_is_where_it_helps(snr, expected):
    md = 0.75
    log_sd = torch.full((6, 7), float(np.log(1.74 * md / snr / SD_OF_MD)))  # sd of log MD of 6+1 is 1.74 / SNR
    mean = torch.zeros(1, 7, 6, 7)
    mean[:, 1:4] = md**0.5
    mask = torch.ones(6, 7)
    found = floor(summaries(log_sd, mask), mean, 0.25)
    assert found[0] == pytest.approx(expected, abs=0.012)
    mask[0, 0] = mask[3, 3] = mask[5] = 0
    log_sd[mask == 0] = 5.0  # what lies outside the mask is not asked
    assert torch.allclose(floor(summaries(log_sd, mask), mean, 0.25), found)


def test_a_unit_of_log_md_is_half_of_the_root():
    Q = np.random.default_rng(1).normal(size=(3, 3))
    Q = Q + Q.T
    change = 1e-5
    grown = (1 + 0.5 * change) * Q
    assert np.log(np.trace(grown @ grown) / np.trace(Q @ Q)) == pytest.approx(change, rel=1e-4)


def test_the_loosened_network_is_blind_too_and_says_the_same_in_onnx(tmp_path):
    from edge_pigment_export.graph import reach, to_onnx

    torch.manual_seed(0)
    model = ContextPrior(8, 8, 1, 8, unknown_md=0.25).eval()
    torch.nn.init.normal_(model.head[-1].weight, std=0.5)
    x = torch.randn(1, CHANNELS, 16, 16)
    x[0, OWN][8:11] = SD_SCALE * np.log(0.1)  # so that the floor is neither 0 nor the same everywhere
    x[0, OWN][-1] = 1
    x += 0.02 * torch.randn(x.shape)
    x.requires_grad_()
    mean, factor = model(x)
    assert len(torch.unique(floor(x, mean, 0.25))) > 100
    (mean[0, :, 7, 8].sum() + factor[0, :, 7, 8].sum()).backward()
    assert torch.all(x.grad[0, OWN, 7, 8] == 0)
    assert torch.isfinite(x.grad).all()
    onnxruntime = pytest.importorskip("onnxruntime")
    proto = to_onnx(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    found = session.run(None, {proto.graph.input[0].name: x.detach().numpy()})
    np.testing.assert_allclose(found[0], mean.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(found[1], factor.detach().numpy(), atol=1e-3)
    assert reach(proto) == reach(to_onnx(ContextPrior(8, 8, 1, 8)))

"""Muon: updates whose singular values are alike, and a step that goes downhill."""

import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment_prior.muon import AS_ADAM, Muon, optimisers, orthogonal


@pytest.mark.parametrize("shape", [(48, 400), (96, 80), (30, 30)])
def test_singular_values_become_alike_and_directions_stay(shape):
    torch.manual_seed(0)
    U, _, Vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    G = U * torch.logspace(0, -2, min(shape)) @ Vh
    X = orthogonal(G)
    values = torch.linalg.svdvals(X)
    assert values.min() > 0.5
    assert values.max() < 1.3
    kept = U.T @ X @ Vh.T  # diagonal where the directions are kept
    assert (kept - torch.diag(kept.diagonal())).abs().max() < 1e-3


def test_an_update_is_as_large_as_adams_whatever_the_gradient():
    for size in (1e-4, 1e4):
        weight = torch.zeros(48, 45, 3, 3, requires_grad=True)
        weight.grad = size * torch.randn(weight.shape)
        Muon([weight], lr=1e-3).step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(AS_ADAM * 1e-3, rel=0.15)


def test_a_masked_tap_stays_untouched():
    weight = torch.zeros(16, 45, 3, 3, requires_grad=True)
    weight.grad = torch.randn(weight.shape)
    weight.grad[:, 15:30, 1, 1] = 0
    Muon([weight], lr=1e-3).step()
    assert torch.all(weight[:, 15:30, 1, 1] == 0)
    assert torch.all(weight[:, 15:30, 0, 1] != 0)


def test_every_parameter_has_one_optimiser_and_a_valley_is_descended():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    x = torch.randn(4, 3, 9, 9)
    y = torch.stack([x.mean((1, 2, 3)), x[:, 0].mean((1, 2))], 1)[..., None, None]
    together = optimisers(model, 3e-2)
    owned = [p for o in together for group in o.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, model.parameters()))
    losses = []
    for _ in range(300):
        loss = (model(x).mean((2, 3), keepdim=True) - y).square().mean()
        model.zero_grad()
        loss.backward()
        for o in together:
            o.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]

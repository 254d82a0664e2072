"""Novelty is a standard normal score where the prior is right, and large where it is not."""

import numpy as np

from edge_pigment.physics.adaptation import pack
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import signal
from edge_pigment.trust import NOVEL, data_share, novelty

V = 20_000
SD = np.array([0.1, 0.08, 0.08, 0.08, 0.05, 0.05, 0.05])


NU = 5.0


def adapted(snr, directions, shift=0.0, tails=False, nu=NU):
    rng = np.random.default_rng(3)
    g = rng.normal(size=(directions, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    bvecs, b = np.concatenate([np.zeros((1, 3)), g]), np.r_[0, np.ones(directions)]
    mean = np.broadcast_to([0, 0.95, 0.8, 0.75, 0.05, 0, 0], (V, 7)).astype(np.float32)
    u = rng.gamma(nu / 2, 2 / nu, (V, 1)) if tails else 1.0  # Student's t as a scale mixture
    z = mean + SD * rng.normal(size=(V, 7)) / np.sqrt(u)
    z[:, 1:4] += shift
    S, sigma = signal(z, b, bvecs), 1 / snr
    y = np.hypot(S + sigma * rng.normal(size=S.shape), sigma * rng.normal(size=S.shape)).astype(np.float32)
    factor = np.broadcast_to(pack(np.diag(1 / SD)[None])[0], (V, 28)).astype(np.float32)
    return HostBackend(1).adapt(
        np.ascontiguousarray(y.T),
        b.astype(np.float32),
        bvecs.astype(np.float32),
        np.full(V, sigma, np.float32),
        np.ascontiguousarray(mean.T),
        np.ascontiguousarray(factor.T),
        nu,
    )


def test_known_tissue_is_not_novel():
    for snr, directions in ((10, 6), (20, 6), (20, 30)):
        p = adapted(snr, directions, nu=1e6)
        score = novelty(p.distance, p.share, 1e6)
        assert abs(score.mean()) < 0.1
        assert abs(score.std() - 1) < 0.1
        assert np.mean(score > NOVEL) < 0.005


def test_known_tissue_with_heavy_tails_is_not_novel():
    for snr, directions in ((10, 6), (20, 6), (20, 30)):
        p = adapted(snr, directions, tails=True)
        score = novelty(p.distance, p.share, NU)
        assert abs(np.median(score)) < 0.35
        assert np.mean(score > NOVEL) < 0.005


def test_unknown_tissue_is_novel():
    known, unknown = adapted(20, 6, tails=True), adapted(20, 6, shift=0.35)  # MD from 0.7 to 1.4 µm²/ms
    scores = [novelty(p.distance, p.share, NU) for p in (known, unknown)]
    ranks = np.searchsorted(np.sort(scores[0]), scores[1])
    assert ranks.mean() / V > 0.97  # area under the ROC curve


def test_data_share_grows_with_the_data():
    shares = [float(np.median(data_share(adapted(snr, n).share))) for snr, n in ((3, 3), (10, 6), (20, 30))]
    assert 0 <= shares[0] < shares[1] < shares[2] <= 1

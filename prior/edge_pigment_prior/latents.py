"""Other coordinates for the latent than the tensor's root: what a prior over the tensor itself, or over its logarithm,
would tell.

Maps in them need kernels of their own, so they are judged by the prior alone: by the tensor of its mean, and by the
log density that it gives the truth, in the root's coordinates for all. An isotropic function f of a symmetric matrix
changes volumes by the product of its divided differences f[q_i, q_j], i <= j (Magnus & Neudecker 1980, SIAM J. Alg.
Disc. Meth. 1:422, for the linear case).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_pigment.physics.backend import Array
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import latent, to_matrix
from edge_pigment_prior.ablate import WHITE_FA, TorchNetwork, simulated
from edge_pigment_prior.network import ContextPrior, student_nll
from edge_pigment_prior.references import Reference
from edge_pigment_prior.train import Settings, train

LEAST_ROOT = 0.15
"""Of an eigenvalue, √(µm²/ms): smaller ones, which references have by noise, have a logarithm that tells of nothing but
that. Targets are raised to it, and voxels that have one are not judged by their density."""
ALIKE = 1e-4
"""Eigenvalues that differ by less have the derivative for their divided difference."""
ORDER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class RootPrior(ContextPrior):
    """The root: what is shipped."""

    isotropic = 0.9**2
    """µm²/ms, the tensor of no knowledge."""

    def __init__(self, *shape: Any, **more: Any) -> None:
        super().__init__(*shape, **more)
        self.offset[:, 1:4] = float(self.of_root(torch.tensor(self.isotropic**0.5)))

    @staticmethod
    def of_root(q: Tensor) -> Tensor:
        """The coordinates' eigenvalue of one of the root."""
        return q

    @staticmethod
    def to_root(x: Tensor) -> Tensor:
        """The other way."""
        return x

    @staticmethod
    def slope(q: Tensor) -> Tensor:
        """Derivative of `of_root`."""
        return torch.ones_like(q)

    def targets(self, z: Tensor) -> Tensor:
        """(M, 7) latents in these coordinates."""
        return _mapped(z, lambda q: self.of_root(q.clamp(min=LEAST_ROOT)))

    def log_volume(self, z: Tensor) -> Tensor:
        """(M,) log of how much these coordinates' volumes are larger than the root's."""
        q = torch.linalg.eigvalsh(_matrices(z))
        of, total = self.of_root(q), torch.log(self.slope(q)).sum(-1)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            apart = q[:, j] - q[:, i]
            close = apart < ALIKE
            quotient = (of[:, j] - of[:, i]) / torch.where(close, torch.ones_like(apart), apart)
            total = total + torch.log(torch.where(close, self.slope((q[:, i] + q[:, j]) / 2), quotient))
        return total


class TensorPrior(RootPrior):
    """The tensor itself, which may come out with negative eigenvalues."""

    @staticmethod
    def of_root(q: Tensor) -> Tensor:
        """q²."""
        return q.square()

    @staticmethod
    def to_root(x: Tensor) -> Tensor:
        """Negative ones are 0."""
        return x.clamp(min=0).sqrt()

    @staticmethod
    def slope(q: Tensor) -> Tensor:
        """2q."""
        return 2 * q


class LogPrior(RootPrior):
    """The logarithm (log-Euclidean; Arsigny et al. 2006, MRM 56:411)."""

    @staticmethod
    def of_root(q: Tensor) -> Tensor:
        """log q²."""
        return 2 * torch.log(q)

    @staticmethod
    def to_root(x: Tensor) -> Tensor:
        """The root of what was the logarithm."""
        return torch.exp(x / 2)

    @staticmethod
    def slope(q: Tensor) -> Tensor:
        """2/q."""
        return 2 / q


KINDS: dict[str, type[RootPrior]] = {"root (shipped)": RootPrior, "tensor": TensorPrior, "logarithm": LogPrior}


def compare(
    references: list[Reference], unseen: list[Reference], run: Path, settings: Settings, snr: float
) -> list[dict[str, Any]]:
    """Train a prior in each of the coordinates, on the same patches, and judge it alone; rows of a table."""
    rows = []
    for name, kind in KINDS.items():
        model = train(references, run / name.split()[0], settings, workers=1, progress=False, kind=kind)
        assert isinstance(model, RootPrior)
        judged = [judge(model, settings.nu, reference, snr) for reference in unseen]
        rows.append({"variant": name} | {key: float(np.mean([r[key] for r in judged])) for key in judged[0]})
    return rows


def judge(model: RootPrior, nu: float, reference: Reference, snr: float) -> dict[str, float]:
    """Errors of the prior's mean, and its log density of the truth, of a simulated 6+1 scan."""
    m, theta = simulated(reference, snr, 0)
    summary = HostBackend(None).summarise(m.y, m.b, m.bvecs, m.sigma)
    mean, factor = (torch.from_numpy(each.T) for each in TorchNetwork(model).prior(summary, m.mask))
    with torch.no_grad():
        truth = torch.from_numpy(latent(np.exp(theta[0]), theta[1:].T).astype(np.float32))
        fair = torch.linalg.eigvalsh(_matrices(truth))[:, 0] > LEAST_ROOT
        density = model.log_volume(truth[fair]) - student_nll(mean[fair], factor[fair], model.targets(truth[fair]), nu)
        root = _mapped(mean, model.to_root)
    return {"log density": float(density.mean())} | _errors(root.numpy(), truth.numpy())


def _errors(found: Array, true: Array) -> dict[str, float]:
    """Of latents (V, 7) in root coordinates."""
    values, vectors = zip(*(np.linalg.eigh(to_matrix(z[:, 1:].astype(float))) for z in (found, true)), strict=True)
    (fa, true_fa), (md, true_md) = zip(*((fractional_anisotropy(q**2), (q**2).mean(-1)) for q in values), strict=True)
    white = true_fa > WHITE_FA
    first, second = (
        np.take_along_axis(v, np.argmax(q**2, axis=-1)[:, None, None], axis=2)[..., 0]
        for q, v in zip(values, vectors, strict=True)
    )
    cosine = np.abs(np.sum(first * second, axis=-1))[white]
    return {
        "FA MAE": float(np.abs(fa - true_fa).mean()),
        "MD MAE": float(np.abs(md - true_md).mean()),
        "V1 median deg": float(np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1))))),
    }


def _matrices(z: Tensor) -> Tensor:
    """(M, 7) -> (M, 3, 3)."""
    out = z.new_zeros(len(z), 3, 3)
    for column, (i, j) in enumerate(ORDER, start=1):
        out[:, i, j] = out[:, j, i] = z[:, column]
    return out


def _mapped(z: Tensor, of: Any) -> Tensor:
    """(M, 7) with a function of the eigenvalues in place of them; log S0 stays."""
    q, vectors = torch.linalg.eigh(_matrices(z))
    mapped = (vectors * of(q)[:, None, :]) @ vectors.transpose(1, 2)
    return torch.cat([z[:, :1], torch.stack([mapped[:, i, j] for i, j in ORDER], dim=1)], dim=1)

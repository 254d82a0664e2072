"""Small trainings that differ in one thing each: what the prior's design rests on.

Every variant is trained on the same patches for as many steps, then makes priors for simulated scans of references
that it never saw, and the maps after the adaptation are judged. The trainings are short, so the table compares; it
does not say how good a long training gets.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_pigment.adapt import Measurements, adapt
from edge_pigment.maps import MM2_PER_S, voxel_maps
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.prior.context import Network
from edge_pigment.prior.features import CHANNELS, VOXEL_CHANNELS
from edge_pigment_prior.network import ContextPrior, MaskedConvolution
from edge_pigment_prior.references import Reference
from edge_pigment_prior.rescan import rician, spread_directions
from edge_pigment_prior.train import Settings, train

NORMAL_90 = 1.6449
WHITE_FA = 0.3
SLICES = 12
"""In the middle of the brain: where each variant is judged."""
TIMED, ROUNDS = (1, CHANNELS, 96, 96), 5
"""What is timed: one slice."""
SMALLEST_S0 = 1e-3
DIVERGED = "diverged"
GAUSSIAN = 1e6
"""Degrees of freedom that make Student's t a Gaussian."""


class SeeingPrior(ContextPrior):
    """Sees the voxel itself too, whose data the adaptation then counts twice."""

    def __init__(self, *shape: Any, **more: Any) -> None:
        super().__init__(*shape, **more)
        for module in self.modules():
            if isinstance(module, MaskedConvolution):
                module.tap.fill_(1)


class FlatPrior(ContextPrior):
    """Sees no neighbouring slice."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """As `ContextPrior.forward`."""
        own = torch.zeros_like(features)
        channels = slice(VOXEL_CHANNELS, 2 * VOXEL_CHANNELS)
        own[:, channels] = features[:, channels]
        return super().forward(own)


@dataclass(frozen=True)
class Variant:
    """What differs from the settings that are shipped."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    kind: type[ContextPrior] = ContextPrior
    sweeps: int = 1


VARIANTS = (
    Variant("as shipped"),
    Variant("without products", {"gates": 0, "depth": 4}),
    Variant("no floor under the sd of log MD", {"unknown_md": 0.0}),
    Variant("not blind to the voxel", kind=SeeingPrior),
    Variant("without neighbouring slices", kind=FlatPrior),
    Variant("two sweeps", sweeps=2),
    Variant("Gaussian", {"nu": GAUSSIAN}),
    Variant("twice as wide", {"width": 96, "wide_width": 64, "head": 192, "gates": 64}),
    Variant("half as wide", {"width": 24, "wide_width": 16, "head": 48, "gates": 16}),
    Variant("one block fewer", {"depth": 2}),
    Variant("one block more", {"depth": 4}),
    Variant("no simulated changes", {"changes": False}),
    Variant("all voxels weigh alike", {"anisotropic": 0.0}),
    Variant("more and weightier lesions", {"lesions": 0.9, "lesion_weight": 8.0}),
    Variant("the same floor everywhere", {"even_floor": True}),
    Variant("AdamW", {"muon": False, "learning_rate": 2e-3}),
    Variant("half the learning rate", {"learning_rate": 2e-3}),
    Variant("twice the learning rate", {"learning_rate": 8e-3}),
    Variant("float32", {"bf16": False}),
    Variant("the references' own error in the loss", {"own_error": True}),
)


class TorchNetwork(Network):
    """A network as it is trained, where a run expects an exported one."""

    device = "torch"

    def __init__(self, model: ContextPrior) -> None:
        self.model = model.eval()

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """(B, 45, Y, X) -> mean (B, 7, Y, X) and packed precision factor (B, 28, Y, X)."""
        with torch.no_grad():
            mean, factor = self.model(torch.from_numpy(features))
        return mean.numpy(), factor.numpy()


def simulated(reference: Reference, snr: float, seed: int) -> tuple[Measurements, Array]:
    """A Rician 6+1 scan, b = 1 ms/µm², of a reference's middle slices, and the true theta (7, V)."""
    rng = np.random.default_rng(seed)
    middle = max(int(np.median(np.nonzero(reference.mask)[0])) - SLICES // 2, 0)
    part = slice(middle, middle + SLICES)
    mask, theta = reference.mask[part], reference.theta[:, part]
    g = np.concatenate([np.zeros((1, 3)), spread_directions(6, rng)])
    b = np.r_[0.0, np.ones(6)]
    y = rician(theta[:, mask], b, g, 1 / snr, rng).astype(np.float32)
    sigma = np.full(y.shape[1], 1 / snr, np.float32)
    return Measurements(y, b.astype(np.float32), g.astype(np.float32), sigma, 1.0, mask), theta[:, mask]


def judge(network: Network, nu: float, sweeps: int, references: list[Reference], snr: float) -> dict[str, float]:
    """Errors of the maps, mean over references."""
    rows = []
    backend = HostBackend(None)
    for reference in references:
        m, theta = simulated(reference, snr, 0)
        values, vectors = np.linalg.eigh(to_matrix(theta[1:].T.astype(float)))
        outcome = adapt(m, backend, network if sweeps == 1 else SecondSweep(network, m, backend, nu), nu).outcome
        found = voxel_maps(outcome, 1.0, nu)
        fa, md = fractional_anisotropy(values), values.mean(-1)
        d_fa, d_md = found["FA"] - fa, found["MD"] / MM2_PER_S - md
        white = fa > WHITE_FA
        cosine = np.abs(np.sum(found["V1"] * vectors[..., 2], axis=-1))[white]
        rows.append(
            {
                "FA MAE": np.abs(d_fa).mean(),
                "MD MAE": np.abs(d_md).mean(),
                "V1 median deg": np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1)))),
                "FA bias white": d_fa[white].mean(),
                "FA cover 90": np.mean(np.abs(d_fa) < NORMAL_90 * found["FA_sd"]),
                "MD cover 90": np.mean(np.abs(d_md) < NORMAL_90 * found["MD_sd"] / MM2_PER_S),
            }
        )
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


class SecondSweep(Network):
    """A prior from neighbours that were adapted already, by the network that was trained on summaries."""

    def __init__(self, network: Network, measurements: Measurements, backend: HostBackend, nu: float) -> None:
        self.network, self.measurements, self.backend, self.nu = network, measurements, backend, nu
        self.device = network.device

    def prior(
        self, summary: Summary, mask: NDArray[np.bool_], progress: Callable[[float], None] | None = None
    ) -> tuple[Array, Array]:
        """As `Network.prior`, of the first sweep's maps."""
        first = adapt(self.measurements, self.backend, self.network, self.nu)
        found = voxel_maps(first.outcome, 1.0, self.nu)
        theta, sd = summary.theta.copy(), summary.sd.copy()
        theta[0] = np.log(np.maximum(found["S0"], SMALLEST_S0))
        theta[1:] = found["tensor"].T / MM2_PER_S
        # the sd of single elements is not kept: all shrink as that of MD has
        md_sd = np.sqrt(np.sum(sd[1:4] ** 2, axis=0)) / 3
        sd[1:] *= np.minimum(1, found["MD_sd"] / MM2_PER_S / md_sd)
        return self.network.prior(Summary(theta, sd), mask)


def speed(model: ContextPrior) -> float:
    """Voxels per second of a network in PyTorch, float32 on the threads that torch has; best of some rounds."""
    features = torch.zeros(TIMED)
    seconds = []
    with torch.no_grad():
        for _ in range(ROUNDS):
            began = time.perf_counter()
            model.eval()(features)
            seconds.append(time.perf_counter() - began)
    return TIMED[0] * TIMED[2] * TIMED[3] / min(seconds)


def ablate(
    references: list[Reference],
    unseen: list[Reference],
    run: Path,
    settings: Settings,
    snr: float,
    variants: tuple[Variant, ...] = VARIANTS,
    tell: Callable[[dict[str, Any]], None] = print,
) -> list[dict[str, Any]]:
    """Train and judge each variant.

    Args:
        references: to train on.
        unseen: to judge by.
        run: folder for the trainings.
        settings: of all variants, but for what differs.
        snr: of the simulated scans' b=0.
        variants: what is tried.
        tell: called with each row.
    """
    rows = []
    for variant in variants:
        chosen = replace(settings, **variant.settings)
        began = time.perf_counter()
        name = variant.name if variant.sweeps == 1 else variants[0].name  # more sweeps of the same network
        folder = run / name.replace(" ", "-")
        model = train(references, folder, chosen, workers=1, progress=False, kind=variant.kind)
        seconds = time.perf_counter() - began
        row = {"variant": variant.name, "multiply-adds": model.macs(), "training s": round(seconds)}
        row["k voxels/s"] = round(speed(model) / 1e3)
        if all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            row |= judge(TorchNetwork(model), chosen.nu, variant.sweeps, unseen, snr)
        else:
            row |= {"FA MAE": DIVERGED}
        rows.append(row)
        tell(rows[-1])
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    for row in rows:
        cells = [f"{row[k]:.3f}" if isinstance(row.get(k), float) else str(row.get(k, "")) for k in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

"""The training loop: seeded, resumable, logged.

The k-th example of a run depends on the seed and k only, so a run that was stopped and resumed sees what an unbroken
one sees. The shipped weights are an exponential moving average of the optimiser's.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edge_pigment.physics.host import HostBackend
from edge_pigment_prior.muon import optimisers
from edge_pigment_prior.network import ContextPrior, student_nll
from edge_pigment_prior.own_error import latent_variance, noisy_nll
from edge_pigment_prior.patches import Truth, draw_example, draw_truth
from edge_pigment_prior.references import Reference
from edge_pigment_prior.schemes import direction_bank

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
EMA = 0.999
"""Per step; an average over the last 1000 steps."""
LOG_EVERY = 20
CHECKPOINT_EVERY = 100
WARM_UP = 100
CLIP = 5.0
SHAPE = ("width", "wide_width", "depth", "head", "gates", "unknown_md", "even_floor")
"""Settings of the network."""
OLDER = {
    "changes": False,
    "anisotropic": 0.0,
    "bf16": False,
    "muon": False,
    "even_floor": True,
    "join": False,
    "gates": 0,
    "own_error": False,
}
"""Settings of runs from before there were any of these."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of, by default as the shipped weights were; written beside them."""

    steps: int = 14_500
    batch: int = 8
    learning_rate: float = 4e-3
    nu: float = 5.0
    seed: int = 0
    width: int = 48
    wide_width: int = 32
    depth: int = 3
    head: int = 96
    gates: int = 32
    """See `network.ContextPrior`."""
    changes: bool = True
    """Simulated lesions and smooth differences of tissue."""
    lesions: float = 0.7
    """Part of patches with simulated lesions."""
    lesion_weight: float = 4.0
    """Of a lesion's voxels in the loss."""
    anisotropic: float = 2.7
    """A voxel weighs exp(this times its FA) in the loss; see `patches.draw_example`."""
    unknown_md: float = 0.27
    """See `network.ContextPrior`."""
    even_floor: bool = False
    """See `network.ContextPrior`."""
    muon: bool = True
    """Muon for the weights, or AdamW."""
    bf16: bool = True
    """Convolutions in bfloat16, sums and loss in float32: twice as fast on CPUs and GPUs that have it."""
    start: str = ""
    """SHA-256 of the checkpoint that the run started from; empty for random weights."""
    join: bool = False
    """Series of one head joined into one reference; see `repeats`."""
    own_error: bool = False
    """The references' own error in the loss; see `own_error`."""


class Patches(Dataset[tuple[Tensor, ...]]):
    """The run's examples by number; scans weigh by the root of their brain's volume.

    Every patch is scanned twice, by the same place of two batches that follow each other: to cut a patch out of a
    turned head takes longer than to scan it.
    """

    def __init__(self, references: list[Reference], first: int, length: int, settings: Settings) -> None:
        self.references, self.first, self.length, self.settings = references, first, length, settings
        size = np.sqrt([r.mask.sum() * np.prod(r.voxel_size) for r in references])
        # series of one head share the head's weight
        heads = [r.name.split("_")[0] for r in references]
        size /= [np.sqrt(heads.count(h)) for h in heads]
        self.chances = size / size.sum()
        self.bank = direction_bank(settings.seed)
        self._recent: OrderedDict[int, Truth] = OrderedDict()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Features, target and weight as of `patches.draw_example`, and the error of the target's D, one number."""
        s, number = self.settings, self.first + index
        pair, place = divmod(number, 2 * s.batch)
        truth = self._truth(pair * s.batch + place % s.batch)
        rng = np.random.default_rng([s.seed, number, 1])
        example = draw_example(truth, self.bank, HostBackend(1), rng, s.anisotropic)
        features, target, weight = (torch.from_numpy(np.ascontiguousarray(a)) for a in example)
        return features, target, weight, torch.tensor(truth.sd, dtype=torch.float32)

    def _truth(self, number: int) -> Truth:
        if number not in self._recent:
            rng = np.random.default_rng([self.settings.seed, number, 0])
            s = self.settings
            lesions = (s.changes, s.lesions, s.lesion_weight)
            self._recent[number] = draw_truth(self.references, self.chances, rng, *lesions)
            if len(self._recent) > s.batch:
                self._recent.popitem(last=False)
        return self._recent[number]


def loss_of(
    model: ContextPrior, features: Tensor, target: Tensor, weight: Tensor, sd: Tensor, settings: Settings
) -> Tensor:
    """Weighted mean of the negative log density of the targets; sd (B,) is their D's own error."""
    with torch.autocast(features.device.type, torch.bfloat16, enabled=settings.bf16):
        mean, factor = model(features.to(memory_format=torch.channels_last))
    at = weight > 0
    pick = [t.float().permute(0, 2, 3, 1)[at] for t in (mean, factor, target)]
    pick[2] = model.targets(pick[2])
    if settings.own_error:
        variance = latent_variance(pick[2], sd[:, None, None].expand_as(weight)[at])
        density = noisy_nll(pick[0], pick[1], pick[2], settings.nu, variance)
    else:
        density = student_nll(pick[0], pick[1], pick[2], settings.nu)
    weight = weight[at]
    return (density * weight).sum() / weight.sum()


def _schedule(step: int, steps: int) -> float:
    return float(min((step + 1) / WARM_UP, 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-3))


def _batches(
    settings: Settings, references: list[Reference], first: int, until: int, workers: int
) -> Iterator[list[Tensor]]:
    count = max(until - first, 0) * settings.batch
    patches = Patches(references, first * settings.batch, count, settings)
    loader = DataLoader(patches, settings.batch, num_workers=workers, prefetch_factor=4 if workers else None)
    return iter(loader)


def train(
    references: list[Reference],
    run: Path,
    settings: Settings,
    device: str = "cpu",
    workers: int = 1,
    progress: bool = True,
    start: Path | None = None,
    kind: type[ContextPrior] = ContextPrior,
    until: int | None = None,
) -> ContextPrior:
    """Train, or go on with, a run.

    Args:
        references: fitted scans.
        run: folder of the checkpoint, the settings and the log (one JSON object a line).
        settings: of the run; those of a run that is gone on with must be the same.
        device: of torch.
        workers: processes that make patches.
        progress: whether to print.
        kind: class of the network.
        until: step to stop at, with a checkpoint; the end by default.
        start: checkpoint whose averaged weights a new run starts from; its hash is in `settings.start`.

    Returns:
        the averaged network.

    Raises:
        ValueError: the run was started with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    model, average = (kind(**shape_of(settings)).to(device) for _ in range(2))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPUs
    if start is not None:
        model.load_state_dict(load_network(start)[0].state_dict())
    average.load_state_dict(model.state_dict())
    together = optimisers(model, settings.learning_rate, settings.muon)
    step = 0
    if (run / CHECKPOINT).exists():
        state = torch.load(run / CHECKPOINT, map_location=device, weights_only=True)
        if Settings(**(OLDER | state["settings"])) != settings:
            raise ValueError(f"{run} was started with other settings: {state['settings']}; name another folder")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        # one alone, of another name, in runs from before Muon
        states = state["optimisers"] if "optimisers" in state else [state["optimiser"]]
        for optimiser, saved in zip(together, states, strict=True):
            optimiser.load_state_dict(saved)
        step = state["step"]
    recent: list[float] = []
    began, first = time.monotonic(), step
    until = settings.steps if until is None else min(until, settings.steps)
    for batch in _batches(settings, references, step, until, workers):
        rate = settings.learning_rate * _schedule(step, settings.steps)
        for optimiser in together:
            optimiser.param_groups[0]["lr"] = rate
        features, target, weight, sd = (t.to(device) for t in batch)
        loss = loss_of(model, features, target, weight, sd, settings)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        if torch.isfinite(norm):  # one overflow would spoil the weights for good
            for optimiser in together:
                optimiser.step()
        step += 1
        keep = min(EMA, step / (step + 10))
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 1 - keep)
        recent.append(loss.item())
        if step % LOG_EVERY == 0 or step == until:
            seconds = time.monotonic() - began
            _log(run, step, recent, seconds, rate)
            if progress:
                left = seconds / (step - first) * (until - step)
                print(f"\rstep {step}/{settings.steps}  loss {np.mean(recent):.3f}  {left / 60:.1f} min left", end="")
            recent = []
        if step % CHECKPOINT_EVERY == 0 or step == until:
            _save(run, model, average, together, step, settings)
    if progress:
        print()
    return average


def shape_of(settings: Settings) -> dict[str, Any]:
    """The arguments of the network."""
    return {k: getattr(settings, k) for k in SHAPE}


def _log(run: Path, step: int, recent: list[float], seconds: float, rate: float) -> None:
    line = {"step": step, "loss": float(np.mean(recent)), "seconds": round(seconds, 1), "learning_rate": rate}
    with (run / LOG).open("a") as f:
        f.write(json.dumps(line) + "\n")


def _save(
    run: Path,
    model: ContextPrior,
    average: ContextPrior,
    together: tuple[torch.optim.Optimizer, ...],
    step: int,
    settings: Settings,
) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in together],
        "step": step,
        "settings": asdict(settings),
    }
    torch.save(state, run / "checkpoint.tmp")
    (run / "checkpoint.tmp").replace(run / CHECKPOINT)


def load_network(checkpoint: Path) -> tuple[ContextPrior, Settings, int]:
    """The averaged network of a checkpoint, the run's settings and its step."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    settings = Settings(**(OLDER | state["settings"]))
    model = ContextPrior(**shape_of(settings))
    model.load_state_dict(state["average"])
    return model.eval(), settings, int(state["step"])

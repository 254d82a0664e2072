"""`python -m edge_pigment_prior`: train the context prior, plot a run."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment_prior.references import Reference, find_scans, references
from edge_pigment_prior.train import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
DEFAULT = Settings()
TrainOn = Annotated[Path, typer.Argument(help="Folder of scans to train on, in BIDS layout.")]
Unseen = Annotated[Path, typer.Argument(help="Folder of scans to judge by.")]
Trainings = Annotated[Path, typer.Option(help="Folder of the trainings; those that are there are not repeated.")]
Table = Annotated[Path, typer.Option(help="Markdown table to write.")]
Snr = Annotated[float, typer.Option(help="Of the simulated scans that are judged.")]
TrainOnly = Annotated[list[str] | None, typer.Option(help="Train only on scans whose name contains this.")]
Threads = Annotated[int, typer.Option(help="Of torch.")]


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder of scans in BIDS layout (sub-*/dwi/*_dwi.nii.gz).")],
    run: Annotated[Path, typer.Option(help="Folder of the run; gone on with if it exists.")] = Path("runs/prior"),
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = DEFAULT.steps,
    batch: Annotated[int, typer.Option(help="Patches per step.")] = DEFAULT.batch,
    learning_rate: Annotated[float, typer.Option(help="At its height.")] = DEFAULT.learning_rate,
    nu: Annotated[float, typer.Option(help="Student-t degrees of freedom of the prior.")] = DEFAULT.nu,
    seed: Annotated[int, typer.Option(help="Of weights and patches.")] = DEFAULT.seed,
    width: Annotated[int, typer.Option(help="Channels of the near branch.")] = DEFAULT.width,
    wide_width: Annotated[int, typer.Option(help="Channels of the far branch.")] = DEFAULT.wide_width,
    depth: Annotated[int, typer.Option(help="Residual blocks of the near branch.")] = DEFAULT.depth,
    head: Annotated[int, typer.Option(help="Channels of the head.")] = DEFAULT.head,
    gates: Annotated[int, typer.Option(help="Products in a block; 0 for ReLUs alone.")] = DEFAULT.gates,
    changes: Annotated[bool, typer.Option(help="Simulate local changes, as lesions make.")] = DEFAULT.changes,
    lesions: Annotated[float, typer.Option(help="Part of patches with simulated lesions.")] = DEFAULT.lesions,
    lesion_weight: Annotated[float, typer.Option(help="Of a lesion's voxels in the loss.")] = DEFAULT.lesion_weight,
    anisotropic: Annotated[float, typer.Option(help="A voxel weighs exp(this x FA).")] = DEFAULT.anisotropic,
    unknown_md: Annotated[float, typer.Option(help="sd of log MD that no surroundings tell.")] = DEFAULT.unknown_md,
    even_floor: Annotated[bool, typer.Option(help="Hold --unknown-md however MD is measured.")] = DEFAULT.even_floor,
    muon: Annotated[bool, typer.Option(help="Muon for the weights, or AdamW.")] = DEFAULT.muon,
    bf16: Annotated[bool, typer.Option(help="Convolve in bfloat16; slow on old CPUs.")] = DEFAULT.bf16,
    until: Annotated[int | None, typer.Option(help="Step to stop at before the end; the schedule stays.")] = None,
    start: Annotated[Path | None, typer.Option(help="Run whose weights to start from.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Use only scans whose name contains this.")] = None,
    join: Annotated[bool, typer.Option("--join", help="Join series of one head that agree.")] = DEFAULT.join,
    own_error: Annotated[bool, typer.Option(help="Know the references' error.")] = DEFAULT.own_error,
    device: Annotated[str, typer.Option(help="Of torch: cpu, cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Of torch on the CPU.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that make patches.")] = 1,
) -> None:
    """Learn the prior from scans; Ctrl-C loses at most the steps since the last checkpoint."""
    import hashlib

    import torch

    from edge_pigment_prior.repeats import joined_references
    from edge_pigment_prior.train import CHECKPOINT
    from edge_pigment_prior.train import train as train_run

    torch.set_num_threads(threads)
    scans = _scans(data, only)
    cache = run / "references"
    fitted = joined_references(scans, cache, typer.echo) if join else references(scans, cache)
    for reference in fitted:
        typer.echo(f"{reference.name}: {int(reference.mask.sum())} voxels, SNR {1 / reference.sigma:.1f}")
    checkpoint = start / CHECKPOINT if start else None
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint else ""
    settings = Settings(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        nu=nu,
        seed=seed,
        width=width,
        wide_width=wide_width,
        depth=depth,
        head=head,
        gates=gates,
        changes=changes,
        lesions=lesions,
        lesion_weight=lesion_weight,
        anisotropic=anisotropic,
        unknown_md=unknown_md,
        even_floor=even_floor,
        muon=muon,
        bf16=bf16,
        start=digest,
        join=join,
        own_error=own_error,
    )
    train_run(fitted, run, settings, device, workers, start=checkpoint, until=until)


@app.command()
def alterations(
    data: Annotated[Path, typer.Argument(help="Folder of scans, in BIDS layout.")],
    run: Annotated[Path, typer.Option(help="Folder of the prior's training; its references are used.")],
    bundle: Annotated[Path, typer.Option(help="Bundle that makes the maps.")],
    output: Annotated[Path, typer.Option(help="JSON to write.")] = Path("alteration.json"),
    only: Annotated[list[str] | None, typer.Option(help="Only scans whose name contains this.")] = None,
    each: Annotated[int, typer.Option(help="Simulated scans with changes of every reference.")] = 12,
    seed: Annotated[int, typer.Option(help="Of scans and weights.")] = 0,
) -> None:
    """Learn the test for altered tissue, on the maps that a bundle makes."""
    from edge_pigment.physics.host import HostBackend
    from edge_pigment.prior.bundle import load_bundle
    from edge_pigment.prior.context import ContextSession
    from edge_pigment_prior.alterations import heads, learn

    scans = _scans(data, only)
    fitted = references(scans, run / "references")
    opened = load_bundle(bundle)
    found = list(heads(fitted, HostBackend(None), ContextSession(opened), opened.manifest.nu, each, seed))
    learn(found, seed).write(output)
    typer.echo(f"{output}: {len(found)} simulated scans of {len(fitted)} references")


@app.command()
def ablate(
    data: TrainOn,
    unseen: Unseen,
    run: Trainings,
    output: Table = Path("ablations.md"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of each variant.")] = 800,
    snr: Snr = 10.0,
    only: TrainOnly = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only the variants of these names.")] = None,
    threads: Threads = 2,
) -> None:
    """Train and judge what differs from the shipped prior in one thing each."""
    import torch

    from edge_pigment_prior.ablate import VARIANTS, table
    from edge_pigment_prior.ablate import ablate as ablate_runs

    chosen = tuple(v for v in VARIANTS if not variant or v.name in variant)
    if unknown := set(variant or ()) - {v.name for v in chosen}:
        raise typer.BadParameter(f"no variant {', '.join(unknown)}; there are {', '.join(v.name for v in VARIANTS)}")
    torch.set_num_threads(threads)
    train_on, judge_by = _train_and_unseen(data, unseen, run, only)
    settings = Settings(steps=steps)
    rows = ablate_runs(train_on, judge_by, run, settings, snr, chosen, lambda row: typer.echo(str(row)))
    output.write_text(table(rows))


@app.command()
def latents(
    data: TrainOn,
    unseen: Unseen,
    run: Trainings,
    output: Table = Path("latents.md"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of each.")] = 300,
    snr: Snr = 10.0,
    only: TrainOnly = None,
    bf16: Annotated[bool, typer.Option(help="Convolve in bfloat16; slow on old CPUs.")] = DEFAULT.bf16,
    threads: Threads = 2,
) -> None:
    """Compare coordinates of the latent by the prior alone."""
    import torch

    from edge_pigment_prior.ablate import table
    from edge_pigment_prior.latents import compare

    torch.set_num_threads(threads)
    train_on, judge_by = _train_and_unseen(data, unseen, run, only)
    # a floor under the sd of MD is one in the root's coordinates
    settings = Settings(steps=steps, bf16=bf16, unknown_md=0.0)
    rows = compare(train_on, judge_by, run, settings, snr)
    output.write_text(table(rows))
    typer.echo(table(rows))


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, each started from the one before.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")] = Path("training.png"),
) -> None:
    """Plot the log of a run, or of several that follow each other."""
    import json

    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from edge_pigment_prior.train import LOG

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    done, highest = 0, -float("inf")
    for run in runs:
        lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
        axes.plot([done + line["step"] for line in lines], [line["loss"] for line in lines], lw=1, label=run.name)
        done += lines[-1]["step"]
        # the first steps would set the scale
        highest = max(highest, *(line["loss"] for line in lines[min(4, len(lines) - 1) :]))
    axes.set(xlabel="step", ylabel="negative log density of\nthe held-back voxel", title="Training of the prior")
    axes.set_ylim(top=highest)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(output, dpi=120)


def _train_and_unseen(
    data: Path, unseen: Path, run: Path, only: list[str] | None
) -> tuple[list[Reference], list[Reference]]:
    """References to train on and to judge by, kept in the folder of the trainings."""
    return references(_scans(data, only), run / "references"), references(find_scans(unseen), run / "unseen")


def _scans(data: Path, only: list[str] | None) -> list[Path]:
    """The scans of a folder whose name contains one of the parts; all of them without any."""
    scans = [s for s in find_scans(data) if not only or any(part in s.name for part in only)]
    if not scans:
        raise typer.BadParameter(f"no sub-*/**/dwi/*_dwi.nii.gz in {data}")
    return scans


if __name__ == "__main__":
    app()

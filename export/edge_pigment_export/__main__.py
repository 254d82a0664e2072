"""`python -m edge_pigment_export`: a training run -> a bundle, verified against torch."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from edge_pigment import __version__
from edge_pigment.prior.bundle import LATENT, SCHEMA, Manifest, Training, TrainingScan
from edge_pigment.prior.features import CHANNELS, CONTRACT

LIMITS = (
    "Research use; not a medical device.",
    "Learned from scans of a few healthy adults at 3 T; low field is simulated, no real low-field scan was used.",
    "One tensor per voxel: crossing fibres come out as lowered FA, as in any tensor fit.",
    "Single diffusion times; children, old age and gross pathology are not represented.",
)


def training_scans(run: Path, data: Path | None) -> tuple[TrainingScan, ...]:
    """What the run's references came from, with source and licence where a sidecar states them."""
    scans = []
    for reference in sorted((run / "references").glob("*.npz")):
        found: dict[str, Any] = {}
        if data is not None:
            for sidecar in data.glob(f"sub-*/**/dwi/{reference.stem}_dwi.json"):
                found = json.loads(sidecar.read_text())
        source, license = found.get("Source", "not stated"), found.get("License", "not stated")
        scans.append(TrainingScan(name=reference.stem, source=source, license=license))
    return tuple(scans)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the training scans, for sources and licences.")] = None,
    accuracy: Annotated[Path | None, typer.Option(help="JSON of benchmarks/accuracy.py to put in.")] = None,
    name: Annotated[str, typer.Option(help="Of the bundle.")] = "tensor",
    label: Annotated[str, typer.Option("--label", help="Version of the bundle.")] = "1",
) -> None:
    """Turn a run's weights into a bundle and verify it; exits with 1 if ONNX and torch disagree."""
    import onnx

    from edge_pigment_export.graph import to_onnx
    from edge_pigment_export.verify import TOLERANCE, compare, passes
    from edge_pigment_export.write import write_bundle
    from edge_pigment_prior.train import CHECKPOINT, LOG, load_network

    if not (run / CHECKPOINT).is_file():
        typer.echo(f"edge-pigment: error: {run} holds no {CHECKPOINT}; train first: python -m edge_pigment_prior train", err=True)
        raise typer.Exit(2)
    model, settings, step = load_network(run / CHECKPOINT)
    proto = to_onnx(model)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(proto, path)
        errors = compare(model, path)
    for output_name, e in errors.items():
        bound = TOLERANCE[output_name]
        typer.echo(f"{output_name:>17}  max {e['max']:.2e}  mean {e['mean']:.2e}  q99 {e['q99']:.2e}  (bound {bound:.0e})")
    if not passes(errors):
        typer.echo("edge-pigment: error: ONNX and torch disagree; nothing was written", err=True)
        raise typer.Exit(1)
    log = (run / LOG).read_text()
    manifest = Manifest(
        schema_version=SCHEMA,
        name=name,
        version=label,
        latent=LATENT,
        feature_contract=CONTRACT,
        channels=CHANNELS,
        nu=settings.nu,
        multiply_adds_per_voxel=model.macs(),
        flavours={"fp32": "context.fp32.onnx"},
        training=Training(
            scans=training_scans(run, data),
            settings=vars(settings),
            step=step,
            final_loss=float(json.loads(log.splitlines()[-1])["loss"]),
            software={"Python": platform.python_version(), "torch": version("torch"), "onnx": version("onnx")},
        ),
        verification={"fp32": {k: e["max"] for k, e in errors.items()}},
        accuracy=json.loads(accuracy.read_text())["rows"] if accuracy else [],
        limits=LIMITS,
        minimum_versions={"edge-pigment": __version__, "onnxruntime": "1.18"},
    )
    bundle = write_bundle(output, manifest, {"fp32": proto}, {"training-log.jsonl": log.encode()})
    typer.echo(f"{bundle.folder}  {bundle.hash}")


def main() -> None:
    """Console entry."""
    typer.run(export)


if __name__ == "__main__":
    main()

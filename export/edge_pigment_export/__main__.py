"""`python -m edge_pigment_export`: a training run -> a bundle, verified against torch."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_pigment import __version__
from edge_pigment.prior.bundle import ALTERATION, LATENT, SCHEMA, EarlierRun, Manifest, Training, TrainingScan
from edge_pigment.prior.features import CHANNELS, CONTRACT

if TYPE_CHECKING:
    from edge_pigment_calibration.quantisation import CalibrationSet

PATCHES, PATCH_SEED = 16, 20_000
"""Of training references in the calibration set; training's own seeds start with another number."""
LIMITS = (
    "Research use; not a medical device.",
    "Learned from scans of a few healthy adults at 3 T; low field is simulated, no real low-field scan was used.",
    "One tensor per voxel: crossing fibres come out as lowered FA, as in any tensor fit.",
    "Inserted changes of MD, 3 voxels across and more, keep at least 91 % of their contrast at SNR 20 with 6+1, 79 % "
    "at SNR 10: the prior steps back where a voxel, or a small ball of voxels, contradicts what it foretold of MD. "
    "Single voxels keep at least 80 % at SNR 20, 58 % at SNR 10. Where MD is measured to 31 % and worse (6+1 at SNR 5) "
    "it does not step back, and less is left of lesions.",
    "Changes of FA alone keep 33-63 % at SNR 20 and 18-47 % at SNR 10; MD where most signal is lost, too, 48-80 % and "
    "16-47 %.",
    "Novelty ranks inserted changes of MD at SNR 20 above nine tenths of healthy voxels from 3 voxels across and 30 % "
    "lower or 60 % higher on, MD 30 % higher above seven to eight tenths, changes of FA alone not at all. Few voxels "
    "of a lesion pass the threshold that at most four healthy voxels in a thousand pass.",
    "Where the data are weak FA is biased: in white matter by -0.02, -0.03, -0.06 at SNR 20, 10, 5 with 6+1, in grey "
    "matter by +0.02, +0.04, +0.06.",
    "Trace images alone tell MD; FA and the fibres' direction are then the prior's guess.",
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
    earlier: Annotated[
        list[Path] | None, typer.Option(help="Run that this one started from; repeat, the first one first.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the training scans, for sources and licences.")] = None,
    accuracy: Annotated[Path | None, typer.Option(help="JSON of benchmarks/accuracy.py to put in.")] = None,
    alteration: Annotated[
        Path | None, typer.Option(help="JSON of python -m edge_pigment_prior alterations to put in.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the bundle.")] = "tensor",
    label: Annotated[str, typer.Option("--label", help="Version of the bundle.")] = "1",
    precision: Annotated[str, typer.Option(help="Flavours: fp32, fp16, int8, separated by commas.")] = "fp32",
    verify: Annotated[
        Path | None, typer.Option(help="BIDS folder of validation scans for the gate, beside the digital head.")
    ] = None,
    sign_with: Annotated[Path | None, typer.Option(help="Ed25519 private key (PEM) to sign the bundle with.")] = None,
    leave_out_refused: Annotated[
        bool, typer.Option("--leave-out-refused", help="Write a bundle without the flavours that the gate refuses.")
    ] = False,
) -> None:
    """Turn a run's weights into a bundle and verify it.

    Exits with 1, and writes nothing, if ONNX and torch disagree or the gate on maps refuses a flavour.
    """
    import onnx

    from edge_pigment_export import gate
    from edge_pigment_export.graph import reach, to_onnx
    from edge_pigment_export.make import asked, make
    from edge_pigment_export.verification import verification_set
    from edge_pigment_export.verify import TOLERANCE, compare, passes
    from edge_pigment_export.write import write_bundle
    from edge_pigment_prior.train import CHECKPOINT, LOG, load_network

    runs = [*(earlier or ()), run]
    for folder_of_run in runs:
        if not (folder_of_run / CHECKPOINT).is_file():
            _refuse(f"{folder_of_run} holds no {CHECKPOINT}; train first: python -m edge_pigment_prior train")
            raise typer.Exit(2)
    try:
        flavours = asked(precision)
    except ValueError as error:
        _refuse(str(error))
        raise typer.Exit(2) from None
    model, settings, step = load_network(run / CHECKPOINT)
    proto = to_onnx(model)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(proto, path)
        errors = compare(model, path)
    for output_name, e in errors.items():
        bound = TOLERANCE[output_name]
        cells = "  ".join(f"{key} {e[key]:.2e}" for key in ("max", "mean", "q99"))
        typer.echo(f"{output_name:>17}  {cells}  (bound {bound:.0e})")
    if not passes(errors):
        _refuse("ONNX and torch disagree; nothing was written")
        raise typer.Exit(1)
    calibration = _calibration(run) if {"int8-cpu", "int8-trt"} & set(flavours) else None
    scans = verification_set(verify) if len(flavours) > 1 else []
    made = make(proto, flavours, settings.nu, scans, calibration, typer.echo)
    if made.verdicts:
        typer.echo(gate.table(made.verdicts))
    if made.refused and not leave_out_refused:
        _refuse(f"the gate refuses {', '.join(made.refused)}; nothing was written")
        raise typer.Exit(1)
    kept = {flavour: found for flavour, found in made.models.items() if flavour not in made.refused}
    extra: dict[str, bytes] = {}
    if made.verdicts:
        judged = json.dumps(made.report(calibration), indent=1) + "\n"
        extra = {"gate.json": judged.encode(), "gate.md": (gate.table(made.verdicts) + "\n").encode()}
    if alteration is not None:
        extra[ALTERATION] = alteration.read_bytes()
    log = "".join((each / LOG).read_text() for each in runs)
    before = [load_network(each / CHECKPOINT)[1:] for each in runs[:-1]]
    manifest = Manifest(
        schema_version=SCHEMA,
        name=name,
        version=label,
        latent=LATENT,
        feature_contract=CONTRACT,
        channels=CHANNELS,
        nu=settings.nu,
        multiply_adds_per_voxel=model.macs(),
        flavours={flavour: f"context.{flavour}.onnx" for flavour in kept},
        training=Training(
            scans=training_scans(run, data),
            settings=vars(settings),
            step=step,
            final_loss=float(json.loads(log.splitlines()[-1])["loss"]),
            software={"Python": platform.python_version(), "torch": version("torch"), "onnx": version("onnx")},
            earlier=tuple(EarlierRun(settings=vars(s), step=at) for s, at in before),
        ),
        verification={"fp32": {k: e["max"] for k, e in errors.items()}},
        accuracy=json.loads(accuracy.read_text())["rows"] if accuracy else [],
        limits=LIMITS,
        minimum_versions={"edge-pigment": __version__, "onnxruntime": "1.18"},
        reach=reach(proto),
        calibration=calibration.describe() if calibration else None,
        gate={v.flavour: v.worst for v in made.verdicts if v.flavour in kept},
        refused=tuple(made.refused),
        quantised_layers={f: tuple(names) for f, names in made.quantised.items() if f in kept},
    )
    bundle = write_bundle(output, manifest, kept, {"training-log.jsonl": log.encode(), **extra}, sign_with)
    typer.echo(f"{bundle.folder}  {bundle.hash}")


def _refuse(why: str) -> None:
    typer.echo(f"edge-pigment: error: {why}", err=True)


def _calibration(run: Path) -> "CalibrationSet":
    """The simulated set, with patches of the run's references where they are still there."""
    import numpy as np

    from edge_pigment.physics.host import HostBackend
    from edge_pigment_calibration.quantisation import calibration_set
    from edge_pigment_prior.patches import draw_example, draw_truth
    from edge_pigment_prior.references import Reference
    from edge_pigment_prior.schemes import DirectionBank

    references = [Reference.load(path) for path in sorted((run / "references").glob("*.npz"))]
    if not references:
        return calibration_set()
    bank, backend = DirectionBank(), HostBackend(None)
    chances = np.full(len(references), 1 / len(references))
    examples = []
    for n in range(PATCHES):
        rng = np.random.default_rng([PATCH_SEED, n])
        examples.append(draw_example(draw_truth(references, chances, rng), bank, backend, rng)[0])
    return calibration_set((np.stack(examples),))


def main() -> None:
    """Console entry."""
    typer.run(export)


if __name__ == "__main__":
    main()

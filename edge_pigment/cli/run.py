"""`edge-pigment run`: a scan, or a BIDS dataset of scans, -> maps."""

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.console import B0_THRESHOLD_HELP, Progress, path_option, print_json, say, verb
from edge_pigment.cli.job import Job
from edge_pigment.cli.plan import tell
from edge_pigment.errors import EdgePigmentError, InputError

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition
    from edge_pigment.outputs.bids import ScanName

_MAY_REFUSE = ("open", "mask", "noise")
"""Steps before whose end bad input is still told, in one line; the protocol's limits are told after them."""
_READ_SHARE, _WRITE_SHARE = 0.05, 0.1
"""Rough shares of the time, for progress bars only."""


@verb
def run(
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="SCAN",
            help="4D diffusion image (.nii, .nii.gz), or a folder with a BIDS dataset.",
            readable=False,
        ),
    ],
    output: Annotated[Path, path_option("--output", "-o", help="Folder to make for the maps.")],
    bval: Annotated[Path | None, path_option(help="b-values in s/mm²; default: beside the image.")] = None,
    bvec: Annotated[Path | None, path_option(help="Directions; default: beside the image.")] = None,
    mask: Annotated[Path | None, path_option(help="Brain mask; default: found from the scan.")] = None,
    b0_threshold: Annotated[float | None, typer.Option("--b0-threshold", min=0, help=B0_THRESHOLD_HELP)] = None,
    sigma: Annotated[float | None, typer.Option(help="Noise sd in units of the image; default: estimated.")] = None,
    bundle: Annotated[Path | None, path_option(help="Bundle of the prior; default: the shipped one.")] = None,
    public_key: Annotated[
        Path | None, path_option(help="Ed25519 key (PEM) that must have signed the bundle; default: not checked.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    precision: Annotated[
        str, typer.Option(help="Of the network: fp32, or another flavour of the bundle, such as int8-cpu.")
    ] = "fp32",
    network: Annotated[
        str,
        typer.Option(
            help="Where the network runs: cpu; tensorrt, an engine that `edge-pigment build` made; ort-cuda or "
            "ort-tensorrt, ONNX Runtime's providers; auto, an engine if the kernels run on a GPU and one was built, "
            "else cpu."
        ),
    ] = "auto",
    build_engine: Annotated[
        bool, typer.Option("--build-engine", help="Build a TensorRT engine first if none fits; takes minutes.")
    ] = False,
    participant_label: Annotated[
        list[str] | None,
        typer.Option(help="Of a BIDS dataset, only this participant (with or without sub-); may be repeated."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an older result of edge-pigment, once the new one is whole."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say what would be done; write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: the result on stdout, progress on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")] = False,
) -> None:
    """Turn a diffusion scan into tensor maps with their uncertainty.

    Makes OUTPUT/sub-<label>/dwi/ with maps (NIfTI, JSON), provenance and a picture of the maps, as a
    BIDS-derivative dataset; either all of it or nothing. With a BIDS dataset, each participant is added as a
    whole.
    """
    from edge_pigment.outputs.staging import check_target
    from edge_pigment.pipeline import RunOptions

    scans = _scans(scan, participant_label, {"--bval": bval, "--bvec": bvec, "--mask": mask})
    if threads is not None and threads < 1:
        raise InputError(texts.OPTION_OUT_OF_RANGE.format(option="--threads", expected="1 or more", value=threads))
    options = RunOptions(
        mask=mask,
        sigma=sigma,
        b0_threshold=b0_threshold,
        bundle=bundle,
        public_key=public_key,
        device=device,
        threads=threads,
        precision=precision,
        network=network,
        build_engine=build_engine,
    )
    job = Job(scans, output, scan.is_dir(), options, bval, bvec, as_json, quiet)
    participants = list(dict.fromkeys(name.participant for _, name in scans))
    check_target(output, overwrite, participants if job.is_dataset else None)
    if dry_run:
        tell(job)
    elif job.is_dataset:
        _run_dataset(job)
    else:
        summaries = _run_group(job, scans)
        if as_json:
            print_json(summaries[0])


def _scans(
    scan: Path, labels: Sequence[str] | None, of_one_scan: dict[str, Path | None]
) -> tuple[tuple[Path, "ScanName"], ...]:
    """The scans to run and what to call their results.

    Raises:
        InputError: an option does not go with what was given, or results would have the same names.
    """
    from edge_pigment.acquisition import find_bids
    from edge_pigment.outputs.bids import ScanName

    if not scan.is_dir():
        if labels:
            raise InputError(texts.OPTION_NEEDS_FOLDER.format(option="--participant-label", path=scan))
        return ((scan, ScanName.of(scan)),)
    for option, value in of_one_scan.items():
        if value is not None:
            raise InputError(texts.OPTION_NEEDS_FILE.format(option=option, path=scan))
    found = tuple((path, ScanName.of(path)) for path in find_bids(scan, labels or None))
    first: dict[str, Path] = {}
    for path, name in found:
        other = first.setdefault(name.prefix, path)
        if other != path:
            raise InputError(texts.NAMES_COLLIDE.format(first=other, second=path))
    return found


def _run_dataset(job: Job) -> None:
    """Run each participant on its own: one that fails is told and leaves nothing, the others go on.

    Raises:
        typer.Exit: with the code of the first error.
    """
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for participant, group in groupby(job.scans, key=lambda scan: scan[1].participant):
        try:
            done += _run_group(job, tuple(group))
        except EdgePigmentError as error:
            say("error", f"{participant}: {error}")
            failed.append({"participant": participant, "error": str(error), "exit_code": error.exit_code})
    if job.as_json:
        print_json({"output": job.output, "scans": done, "failed": failed})
    if failed:
        raise typer.Exit(failed[0]["exit_code"])


def _run_group(job: Job, scans: Sequence[tuple[Path, "ScanName"]]) -> list[dict[str, Any]]:
    """Run scans whose results appear together; return what was done, for --json."""
    from edge_pigment.outputs.staging import Staging
    from edge_pigment.outputs.write import write_dataset_files

    summaries: list[dict[str, Any]] = []
    with Staging(job.output, merge=job.is_dataset) as stage:
        for path, name in scans:
            summaries.append(_run_scan(job, path, name, stage.path))
        write_dataset_files(stage.path, scans[0][1], job.output)
        stage.publish()
    if not (job.quiet or job.as_json):
        for summary in summaries:
            typer.echo(_in_words(summary))
    return summaries


def _run_scan(job: Job, path: Path, name: "ScanName", dataset: Path) -> dict[str, Any]:
    from edge_pigment.outputs.write import write_scan
    from edge_pigment.pipeline import run as run_pipeline

    progress = Progress(job.quiet, job.as_json, path.name)
    told: list[tuple[str, ...]] = []

    def part(step: str, fraction: float) -> None:
        if step not in _MAY_REFUSE and not told:
            told.append(_tell_limits(job, path, acquisition, progress))
        progress(step, _READ_SHARE + fraction * (1 - _READ_SHARE - _WRITE_SHARE))

    try:
        progress("read", 0.0)
        start = time.perf_counter()
        acquisition = job.read(path)
        seconds = {"read": round(time.perf_counter() - start, 4)}
        result = run_pipeline(acquisition, job.options, part)
        progress("write", 1 - _WRITE_SHARE)
        written = write_scan(result, name, dataset, job.options.threads, seconds)
    finally:
        progress.close()
    for warning in result.warnings:
        if not any(warning in limits for limits in told):
            say("warning", f"{path.name}: {warning}")
    noise = written.provenance.get("Noise", {})
    return {
        "scan": path,
        "outputs": {key: job.output / file for key, file in written.files.items()},
        "sigma": noise.get("Sigma"),
        "snr": noise.get("SNRb0"),
        "timings": written.provenance["Seconds"],
        "device": written.provenance.get("Device"),
        "warnings": list(result.warnings),
    }


def _tell_limits(job: Job, path: Path, acquisition: "Acquisition", progress: Progress) -> tuple[str, ...]:
    """Say what the protocol cannot identify, before minutes or a patient's time are spent; return what was said."""
    from edge_pigment.quality.protocol import identify

    limits = identify(acquisition.gradients).limits
    if job.quiet or not limits:
        return ()
    progress.close()
    if job.as_json:
        print_json({"event": "protocol", "scan": path.name, "limits": limits}, err=True, indent=None)
        return ()
    for limit in limits:
        say("protocol", f"{path.name}: {limit}")
    return limits


def _in_words(summary: dict[str, Any]) -> str:
    outputs = summary["outputs"]
    lines = [f"{summary['scan'].name}: {len(outputs) - 4} maps in {outputs['mask'].parent}"]
    if summary["sigma"] is not None and summary["snr"] is not None:
        lines[0] += f" (noise sigma {summary['sigma']:.3g}, SNR of b=0 {summary['snr']:.1f})"
    lines.append(f"To judge them: {outputs['report']}")
    return "\n".join(lines)

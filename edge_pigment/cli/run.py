"""`edge-pigment run`: a scan, or a BIDS dataset of scans, -> maps."""

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.console import B0_THRESHOLD_HELP, Progress, path_option, print_json, say, tell, verb
from edge_pigment.cli.faults import as_refusals
from edge_pigment.cli.job import Job, Refusals
from edge_pigment.cli.plan import tell_plan
from edge_pigment.cli.preflight import check_job, check_scan
from edge_pigment.errors import EdgePigmentError, InputError

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition
    from edge_pigment.outputs.bids import ScanName
    from edge_pigment.pipeline import Result
    from edge_pigment.reading.bids import Skipped

_MAY_REFUSE = ("open", "mask", "noise")
"""Steps before whose end bad input is still told, in one line; the protocol's limits are told after them."""
MOST_THREADS = 1024
"""More than any machine has cores for."""
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
    whole, and a scan that cannot be run does not hold up the others.

    Exit codes: 0 all was run, 2 bad input, 3 the device, 4 some scans of the dataset failed, 1 anything else.
    """
    from edge_pigment.pipeline import RunOptions

    scans, skipped = _scans(scan, participant_label, {"--bval": bval, "--bvec": bvec, "--mask": mask})
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        expected = f"between 1 and {MOST_THREADS}"
        raise InputError(texts.OPTION_OUT_OF_RANGE.format(option="--threads", expected=expected, value=threads))
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
    job = Job(scans, output, scan.is_dir(), options, bval, bvec, as_json, quiet, skipped, overwrite)
    notes = check_job(job)
    for note in notes:
        job.warn_once(note)
    if dry_run:
        tell_plan(job, notes)
    elif job.is_dataset:
        _run_dataset(job)
    else:
        summaries = _run_group(job, scans)
        if as_json:
            print_json(summaries[0])


def _scans(
    scan: Path, labels: Sequence[str] | None, of_one_scan: dict[str, Path | None]
) -> tuple[tuple[tuple[Path, "ScanName"], ...], tuple["Skipped", ...]]:
    """The scans to run and what to call their results; images of a dataset that are no scans by their names.

    Raises:
        InputError: an option does not go with what was given, or results would have the same names.
    """
    from edge_pigment.outputs.bids import ScanName
    from edge_pigment.reading.bids import discover

    if not scan.is_dir():
        if labels:
            raise InputError(texts.OPTION_NEEDS_FOLDER.format(option="--participant-label", path=scan))
        return ((scan, ScanName.of(scan)),), ()
    for option, value in of_one_scan.items():
        if value is not None:
            raise InputError(texts.OPTION_NEEDS_FILE.format(option=option, path=scan))
    discovered = discover(scan, labels or None)
    found = tuple((path, ScanName.of(path)) for path in discovered.scans)
    first: dict[str, Path] = {}
    for path, name in found:
        other = first.setdefault(name.prefix, path)
        if other != path:
            raise InputError(texts.NAMES_COLLIDE.format(first=other, second=path))
    return found, tuple(discovered.skipped)


def _run_dataset(job: Job) -> None:
    """Run each participant on its own, and of each the scans that can be run.

    Raises:
        typer.Exit: with SOME_FAILED where some scans failed, with the code of the first error where all did.
        InputError: no image is a diffusion scan.
    """
    done: list[dict[str, Any]] = []
    refused = Refusals()
    for image in job.skipped:
        refused.skip(image.path, image.why)
    for participant, group in groupby(job.scans, key=lambda scan: scan[1].participant):
        try:
            done += _run_group(job, tuple(group), refused)
        except EdgePigmentError as error:  # of writing: nothing of the participant is there
            refused.fail(participant, None, error)
    if job.as_json:
        print_json({"output": job.output, "scans": done, "failed": refused.failed, "skipped": refused.skipped})
    if code := refused.exit_code(len(done)):
        raise typer.Exit(code)


def _run_group(
    job: Job, scans: Sequence[tuple[Path, "ScanName"]], refused: Refusals | None = None
) -> list[dict[str, Any]]:
    """Run scans whose results appear together; return what was done, for --json.

    Args:
        job: what to do.
        scans: of one participant, or one scan.
        refused: takes what cannot be run, and the others are run; None: the first error ends it.
    """
    from edge_pigment.outputs.lock import no_locks
    from edge_pigment.outputs.staging import Staging
    from edge_pigment.outputs.write import write_dataset_files

    summaries: list[dict[str, Any]] = []
    participants = list(dict.fromkeys(name.participant for _, name in scans))
    with as_refusals(), Staging(job.output, job.is_dataset, job.overwrite, participants) as stage:
        if not stage.locks:
            job.warn_once(no_locks(job.output))
        for path, name in scans:
            try:
                computed = _compute(job, path)
            except Exception as error:  # whatever it is, the other scans go on
                if refused is None or isinstance(error, BrokenPipeError):
                    raise
                refused.fail(name.participant, path, error)
                continue
            if not summaries:
                write_dataset_files(stage.path, name, job.output)
            summaries.append(_write(job, path, name, computed, stage.path))
        if summaries:
            stage.publish()
    if not (job.quiet or job.as_json):
        for summary in summaries:
            tell(*_in_words(summary))
    return summaries


class _Computed(NamedTuple):
    """A scan's result, not written yet; told: warnings that were said before; progress: to go on telling."""

    result: "Result"
    seconds: dict[str, float]
    told: tuple[str, ...]
    progress: Progress


def _compute(job: Job, path: Path) -> _Computed:
    from edge_pigment.pipeline import run as run_pipeline

    for note in check_scan(job, path)[0]:
        say("warning", f"{path.name}: {note}")
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
    except BaseException:
        progress.close()
        raise
    return _Computed(result, seconds, tuple(limit for limits in told for limit in limits), progress)


def _write(job: Job, path: Path, name: "ScanName", computed: _Computed, dataset: Path) -> dict[str, Any]:
    from edge_pigment.outputs.write import write_scan

    result = computed.result
    try:
        computed.progress("write", 1 - _WRITE_SHARE)
        written = write_scan(result, name, dataset, job.options.threads, computed.seconds)
    finally:
        computed.progress.close()
    for warning in result.warnings:
        if warning not in computed.told:
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


def _in_words(summary: dict[str, Any]) -> list[str]:
    outputs = summary["outputs"]
    lines = [f"{summary['scan'].name}: {len(outputs) - 4} maps in {outputs['mask'].parent}"]
    if summary["sigma"] is not None and summary["snr"] is not None:
        lines[0] += f" (noise sigma {summary['sigma']:.3g}, SNR of b=0 {summary['snr']:.1f})"
    lines.append(f"To judge them: {outputs['report']}")
    return lines

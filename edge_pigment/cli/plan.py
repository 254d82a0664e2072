"""`edge-pigment run --dry-run`: what would be done, after the same checks as for doing it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge_pigment.cli.console import print_json, say, tell
from edge_pigment.cli.faults import as_refusals
from edge_pigment.cli.job import Job, Refusals
from edge_pigment.cli.preflight import check_scan

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition
    from edge_pigment.outputs.bids import ScanName
    from edge_pigment.pipeline import Tools


def tell_plan(job: Job, notes: Sequence[str] = ()) -> None:
    """Read every scan, open bundle and device, and say what would be written; write nothing.

    Args:
        job: what would be done.
        notes: of `preflight.check_job`.

    Raises:
        InputError: what the run itself would refuse.
        typer.Exit: scans of the dataset would fail, with the code of the run.
        DeviceError: the device does not work here.
    """
    tools: Tools | None = None
    plans: list[dict[str, Any]] = []
    refused = Refusals()
    for image in job.skipped:
        refused.skip(image.path, image.why)
    taken = 0
    for path, name in job.scans:
        try:
            with as_refusals():
                checked, size = check_scan(job, path, taken)
                acquisition = job.read(path)
                tools = tools or _open(job)  # in the order of the run: whichever is wrong first is told
                plans.append(_plan(job, tools, acquisition, (path, name), checked))
        except Exception as error:  # whatever it is, the other scans go on
            if not job.is_dataset:
                raise
            refused.fail(name.participant, path, error)
            continue
        taken += size
    if job.as_json:
        told = {"scans": plans, "failed": refused.failed, "skipped": refused.skipped, "warnings": notes}
        print_json({"dry_run": True, **told})
    else:
        for plan in plans:
            _print(plan)
        tell("Nothing was written (--dry-run).")
    if job.is_dataset and (code := refused.exit_code(len(plans))):
        raise typer.Exit(code)


def _open(job: Job) -> "Tools":
    """What would compute. An engine is not built, but whether it could be is checked."""
    from edge_pigment.network import open_network
    from edge_pigment.pipeline import Tools, choose_backend
    from edge_pigment.prior import engine
    from edge_pigment.prior.bundle import load_bundle

    options = job.options
    backend = choose_backend(options.device, options.threads)
    prior = load_bundle(options.bundle, options.public_key)
    if options.build_engine:
        engine.key_here(prior, options.precision, engine.load_tensorrt())
        return Tools(backend, prior, None)  # type: ignore[arg-type]  # a dry run ends before it is used
    network, notes = open_network(prior, options.network, options.precision, options.threads, backend)
    return Tools(backend, prior, network, tuple(notes))


def _plan(
    job: Job, tools: "Tools", acquisition: "Acquisition", scan: tuple[Path, "ScanName"], notes: Sequence[str]
) -> dict[str, Any]:
    """One scan's part: what the run itself finds out before it computes."""
    from edge_pigment.outputs.bids import planned_files
    from edge_pigment.pipeline import describe_protocol, run
    from edge_pigment.quality.protocol import identify

    path, name = scan
    options = job.options
    found = run(acquisition, replace(options, dry_run=True), tools=tools)
    return {
        "scan": path,
        "protocol": describe_protocol(acquisition),
        "limits": identify(acquisition.gradients).limits,
        "estimated": [what for what in ("mask", "sigma") if getattr(options, what) is None],
        "mask": options.mask,
        "sigma": options.sigma,
        "bundle": {
            "name": tools.bundle.manifest.name,
            "version": tools.bundle.manifest.version,
            "sha256": tools.bundle.hash,
        },
        "device": tools.backend.name,
        "outputs": [job.output / file for file in planned_files(name)],
        "warnings": [*notes, *found.warnings],
    }


def _print(plan: dict[str, Any]) -> None:
    from edge_pigment.outputs.sheet import facts

    grid = " x ".join(str(n) for n in plan["protocol"]["Shape"])
    estimated = "to be estimated from the scan"
    tell(plan["scan"])
    tell(f"  protocol  {', '.join(facts({'Protocol': plan['protocol']}))}, {grid} voxels")
    tell(f"  mask      {plan['mask'] or estimated}")
    tell(f"  noise sd  {plan['sigma'] or estimated}")
    prior = plan["bundle"]
    tell(f"  prior     {prior['name']} {prior['version']} ({prior['sha256'][:16]})")
    tell(f"  device    {plan['device']}")
    tell(f"  would write {len(plan['outputs'])} files in {plan['outputs'][0].parent}:")
    for file in plan["outputs"]:
        tell(f"    {file.name}")
    name = plan["scan"].name
    for limit in plan["limits"]:
        say("protocol", f"{name}: {limit}")
    for warning in plan["warnings"]:
        if warning not in plan["limits"]:
            say("warning", f"{name}: {warning}")

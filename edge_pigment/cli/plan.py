"""`edge-pigment run --dry-run`: what would be done, after the same checks as for doing it."""

from typing import TYPE_CHECKING, Any

import typer

from edge_pigment.cli.console import print_json, say
from edge_pigment.cli.job import Job

if TYPE_CHECKING:
    from edge_pigment.prior.bundle import Bundle


def tell(job: Job) -> None:
    """Read every scan, open bundle and device, and say what would be written; write nothing.

    Raises:
        InputError: what the run itself would refuse.
        DeviceError: the device does not work here.
    """
    from edge_pigment.network import open_network
    from edge_pigment.outputs.bids import planned_files
    from edge_pigment.pipeline import choose_backend, describe_protocol
    from edge_pigment.prior import engine
    from edge_pigment.prior.bundle import load_bundle
    from edge_pigment.quality.protocol import identify
    from edge_pigment.screening import screen

    options = job.options
    backend = choose_backend(options.device, options.threads)
    prior = load_bundle(options.bundle, options.public_key)
    notes: list[str] = []
    if options.build_engine:  # which a dry run does not do, but whether it could be done is checked
        engine.key_here(prior, options.precision, engine.load_tensorrt())
    else:
        _, notes = open_network(prior, options.network, options.precision, options.threads, backend)
    plans: list[dict[str, Any]] = []
    for path, name in job.scans:
        acquisition = job.read(path)
        found = screen(acquisition.with_b0_threshold(options.b0_threshold)).findings
        plans.append(
            {
                "scan": path,
                "protocol": describe_protocol(acquisition),
                "limits": identify(acquisition.gradients).limits,
                "estimated": [what for what in ("mask", "sigma") if getattr(options, what) is None],
                "mask": options.mask,
                "sigma": options.sigma,
                "bundle": {"name": prior.manifest.name, "sha256": prior.hash},
                "device": backend.name,
                "outputs": [job.output / file for file in planned_files(name)],
                "warnings": [*acquisition.warnings, *notes, *(finding.text for finding in found)],
            }
        )
    if job.as_json:
        print_json({"dry_run": True, "scans": plans})
        return
    for plan in plans:
        _print(plan, prior)
    typer.echo("Nothing was written (--dry-run).")


def _print(plan: dict[str, Any], prior: "Bundle") -> None:
    from edge_pigment.outputs.sheet import facts

    grid = " x ".join(str(n) for n in plan["protocol"]["Shape"])
    estimated = "to be estimated from the scan"
    typer.echo(plan["scan"])
    typer.echo(f"  protocol  {', '.join(facts({'Protocol': plan['protocol']}))}, {grid} voxels")
    typer.echo(f"  mask      {plan['mask'] or estimated}")
    typer.echo(f"  noise sd  {plan['sigma'] or estimated}")
    typer.echo(f"  prior     {prior.manifest.name} {prior.manifest.version} ({prior.hash[:16]})")
    typer.echo(f"  device    {plan['device']}")
    typer.echo(f"  would write {len(plan['outputs'])} files in {plan['outputs'][0].parent}:")
    for file in plan["outputs"]:
        typer.echo(f"    {file.name}")
    for limit in plan["limits"]:
        say("protocol", limit)
    for warning in plan["warnings"]:
        say("warning", warning)

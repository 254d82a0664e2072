"""`edge-pigment watch`: how precise the maps are while the scan runs, and when it can stop."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.console import B0_THRESHOLD_HELP, path_option, print_json, say, tell, verb
from edge_pigment.cli.faults import as_refusals
from edge_pigment.errors import InputError

LONGEST_INTERVAL = 86400.0
"""Seconds between looks at a folder: a day."""

if TYPE_CHECKING:
    from edge_pigment.watch.watcher import Update

LONGEST_INTERVAL = 3600.0
"""Seconds between looks; who looks less often than once an hour watches nothing."""
LARGEST_PORT = 65535


@verb
def watch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Where volumes arrive: a NIfTI that grows, or one file per volume, with .bval and .bvec.",
            readable=False,
        ),
    ],
    target_fa_sd: Annotated[
        float, typer.Option("--target-fa-sd", help="Median sd of FA in white matter that is wanted.")
    ] = 0.03,
    port: Annotated[int, typer.Option(help="Of the page on this machine; 0: any; -1: no page.")] = 0,
    interval: Annotated[float, typer.Option(help="Seconds between looks at the folder.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, tell, and end.")] = False,
    mask: Annotated[Path | None, path_option(help="Brain mask; default: found from the scan.")] = None,
    b0_threshold: Annotated[float | None, typer.Option("--b0-threshold", min=0, help=B0_THRESHOLD_HELP)] = None,
    sigma: Annotated[float | None, typer.Option(help="Noise sd; default: estimated.")] = None,
    bundle: Annotated[Path | None, path_option(help="Bundle of the prior; default: the shipped one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per update on stdout.")] = False,
) -> None:
    """Watch a scan arrive and say when it can stop.

    Tells the uncertainty of FA and MD so far against the target, on the terminal and on a page of this machine, and
    whether more averages would help. Nothing is written into the folder. Stop with Ctrl-C; start again at any time.
    """
    from edge_pigment.pipeline import RunOptions
    from edge_pigment.watch.serve import ADDRESS, serve
    from edge_pigment.watch.watcher import Watcher

    if not 0 < target_fa_sd < 1:
        text = texts.OPTION_OUT_OF_RANGE.format(option="--target-fa-sd", expected="between 0 and 1", value=target_fa_sd)
        raise InputError(text)
    if not 0 <= interval <= LONGEST_INTERVAL:
        expected = f"between 0 and {LONGEST_INTERVAL:g}"
        raise InputError(texts.OPTION_OUT_OF_RANGE.format(option="--interval", expected=expected, value=interval))
    if not -1 <= port <= LARGEST_PORT:
        expected = f"between -1 and {LARGEST_PORT}"
        raise InputError(texts.OPTION_OUT_OF_RANGE.format(option="--port", expected=expected, value=port))
    options = RunOptions(mask=mask, sigma=sigma, b0_threshold=b0_threshold, bundle=bundle, threads=threads)
    watcher = Watcher(folder, target_fa_sd, options)
    server = None
    if port >= 0 and not once:
        server = serve(lambda: [update.as_dict() for update in watcher.history], target_fa_sd, port)
        tell(f"Page: http://{ADDRESS}:{server.server_address[1]}/", err=True)
    told = ""
    try:
        while True:
            try:
                with as_refusals():  # a share may come back, and memory be freed
                    update = watcher.look()
            except InputError as error:
                if once:
                    raise
                # it may be put right while we wait
                if str(error) != told:
                    say("error", error)
                told, update = str(error), None
            if update is not None:
                told = ""
                print_json(update.as_dict(), indent=None) if as_json else tell(*_in_words(update))
            if once:
                return
            time.sleep(max(interval, 0.05))
    except KeyboardInterrupt:
        tell("Stopped watching.", err=True)
    finally:
        if server is not None:
            server.shutdown()


def _in_words(update: "Update") -> list[str]:
    head = f"{update.volumes} volumes ({update.b0s} b=0)"
    if update.precision is None or update.forecast is None:
        lines = [f"{head}: {update.note}"]
    else:
        p = update.precision
        lines = [
            f"{head}: sd of FA {p.white_fa_sd:.3f} white, {p.grey_fa_sd:.3f} grey; sd of MD {1e3 * p.white_md_sd:.3f} "
            f"white, {1e3 * p.grey_md_sd:.3f} grey (10⁻³ mm²/s); {update.seconds:.1f} s",
            f"  {update.forecast.advice}",
        ]
    lines += [f"  warning: {warning}" for warning in update.warnings]
    lines += [f"  sent twice, counted once: {repeat}" for repeat in update.repeats]
    lines += [f"  {texts.WATCH_NO_TABLES.format(name=name)}" for name in update.passed_over]
    lines += [f"  waiting for {item}" for item in update.waiting]
    return lines

"""`edge-pigment build`: a TensorRT engine for this machine, into the user's cache."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, say, verb


@verb
def build(
    bundle: Annotated[Path | None, path_option(help="Bundle of the prior; default: the shipped one.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8-trt, of those in the bundle.")] = "fp16",
    as_json: Annotated[bool, typer.Option("--json", help="Say what was built as JSON.")] = False,
) -> None:
    """Build a TensorRT engine for this GPU (experimental).

    The engine is kept in the user's cache folder under everything that it depends on. `run` does not use engines yet:
    the context prior runs in ONNX Runtime.
    """
    from dataclasses import asdict

    from edge_pigment.prior import engine
    from edge_pigment.prior.bundle import load_bundle

    opened = load_bundle(bundle)
    trt = engine.load_tensorrt()
    key = engine.key_here(opened, precision, trt)
    if not as_json:
        say("building", f"TensorRT {key.tensorrt}, sm_{key.sm}, {precision}; this can take minutes")
    plan = engine.serialise(opened.model(precision).read_bytes(), trt, key.profile)
    entry = engine.store(key, plan)
    if as_json:
        print_json({"engine": entry, "bytes": len(plan), "key": asdict(key)})
    else:
        typer.echo(f"{entry}  {len(plan) / 2**20:.1f} MiB")

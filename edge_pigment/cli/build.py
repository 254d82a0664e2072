"""`edge-pigment build`: a TensorRT engine for this machine, into the user's cache."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, say, tell, verb


@verb
def build(
    bundle: Annotated[Path | None, path_option(help="Bundle of the prior; default: the shipped one.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8-trt, of those in the bundle.")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Say what was built as JSON.")] = False,
) -> None:
    """Build a TensorRT engine for this GPU.

    The engine is kept in the user's cache folder under everything that it depends on, once its maps of a simulated
    scan agree with ONNX Runtime's. `run --device cuda` uses it, `run --network tensorrt` insists on it.
    """
    from dataclasses import asdict

    from edge_pigment.network import build_engine
    from edge_pigment.prior.bundle import load_bundle

    def announce(text: str) -> None:
        if not as_json:
            say("building", text)

    built = build_engine(load_bundle(bundle), precision, announce)
    if as_json:
        print_json({"engine": built.entry, "bytes": built.size, "key": asdict(built.key), "errors": built.errors})
    else:
        differs = ", ".join(f"{kind} {value:.2g}" for kind, value in built.errors.items())
        tell(f"{built.entry}  {built.size / 2**20:.1f} MiB; its maps differ from ONNX Runtime's by {differs}")

"""Which layers bear 8 bits: measured on maps, one layer at a time.

    python -m edge_pigment_export.layers RUN

prints the table: the largest error of each kind over the verification scans when that layer alone is quantised, and
that error in units of the gate's limit.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import onnx
import typer

from edge_pigment.agreement import LIMITS
from edge_pigment_export.flavours import SCHEMES, convolutions, multiply_adds
from edge_pigment_export.gate import Gate, Verdict
from edge_pigment_export.quantise import Quantiser


@dataclass(frozen=True)
class Layer:
    """One convolution: its share of the multiply-adds, and what quantising it alone does to maps."""

    name: str
    share: float
    verdict: Verdict


def measure(model: onnx.ModelProto, flavour: str, quantiser: Quantiser, gate: Gate, folder: Path) -> list[Layer]:
    """Quantise each layer alone and judge the maps."""
    counts = multiply_adds(model)
    found = []
    for name in convolutions(model, flavour):
        path = folder / f"{flavour}.{name}.onnx"
        onnx.save(quantiser(flavour, [name]), path)
        found.append(Layer(name, counts[name] / sum(counts.values()), gate.judge(flavour, path)))
        path.unlink()
    return found


def choose(layers: list[Layer], passes: Callable[[list[str]], bool]) -> list[str]:
    """The layers to quantise: most multiply-adds for the error, as many as the gate lets through together.

    Errors of different layers add up like independent noise, so the first guess is the set whose squares sum to the
    limit. While the gate refuses, it gives up the layer that costs most error for its work; once it lets through, the
    layers left out are tried again one by one.

    Returns:
        names in the network's order; empty if not even one layer passes.
    """
    worth = sorted((la for la in layers if la.verdict.passed), key=lambda la: la.verdict.load**2 / la.share)
    total = np.cumsum([la.verdict.load**2 for la in worth])
    kept = worth[: max(int(np.searchsorted(total, 1.0, side="right")), 1)]
    given_up: Layer | None = None

    def named(chosen: list[Layer]) -> list[str]:
        return [la.name for la in layers if la in chosen]

    while kept and not passes(named(kept)):
        *kept, given_up = kept
    for la in worth if kept else []:
        if la not in kept and la is not given_up and passes(named([*kept, la])):
            kept = [*kept, la]
    return named(kept)


def table(flavour: str, layers: list[Layer]) -> str:
    """As a person reads it."""
    head = f"| {flavour}: layer | multiply-adds % | MD bias % | FA MAE | V1 median deg | coverage points | of limit |"
    lines = [head, "|---" * 7 + "|"]
    for la in layers:
        cells = " | ".join(f"{la.verdict.worst[key]:.4f}" for key in LIMITS)
        lines.append(f"| {la.name} | {100 * la.share:.0f} | {cells} | {la.verdict.load:.2f} |")
    return "\n".join(lines)


def rows(layers: list[Layer]) -> list[dict[str, Any]]:
    """As gate.json holds them."""
    return [{"layer": la.name, "share": la.share, **la.verdict.worst, "load": la.verdict.load} for la in layers]


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    verify: Annotated[Path | None, typer.Option(help="BIDS folder of validation scans; else the digital head.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Print the table of layers for both INT8 flavours."""
    from edge_pigment_calibration.quantisation import calibration_set
    from edge_pigment_export.graph import to_onnx
    from edge_pigment_export.verification import verification_set
    from edge_pigment_prior.train import CHECKPOINT, load_network

    network, settings, _ = load_network(run / CHECKPOINT)
    model = to_onnx(network)
    found = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "fp32.onnx")
        gate = Gate(verification_set(verify), folder / "fp32.onnx", settings.nu)
        quantiser = Quantiser(model, calibration_set().features)
        for flavour in SCHEMES:
            layers = measure(model, flavour, quantiser, gate, folder)
            found[flavour] = rows(layers)
            typer.echo(table(flavour, layers) + "\n")
    if output:
        output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)

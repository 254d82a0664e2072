"""FP32 in, every asked flavour out, each judged on maps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from edge_pigment.agreement import KnownScan
from edge_pigment_calibration.quantisation import CalibrationSet
from edge_pigment_export import layers
from edge_pigment_export.flavours import FLAVOURS, SCHEMES, to_fp16
from edge_pigment_export.gate import Gate, Verdict, report
from edge_pigment_export.quantise import Quantiser

TABLE_SNR = 5.0
TABLE_SCANS = 3
"""The table of layers is made where the prior weighs most, on few scans: it only orders the layers. The gate judges
what is chosen on every scan at every noise level."""


@dataclass
class Made:
    """models: flavour -> ONNX, those refused too; verdicts of all but fp32; tables: flavour -> layers; quantised:
    flavour -> names of the layers in 8 bits."""

    models: dict[str, onnx.ModelProto]
    verdicts: list[Verdict] = field(default_factory=list)
    tables: dict[str, list[layers.Layer]] = field(default_factory=dict)
    quantised: dict[str, list[str]] = field(default_factory=dict)

    @property
    def refused(self) -> list[str]:
        """Flavours that the gate does not let through, or of which nothing could be quantised."""
        empty = [flavour for flavour, names in self.quantised.items() if not names]
        return list(dict.fromkeys([v.flavour for v in self.verdicts if not v.passed] + empty))

    def report(self, calibration: CalibrationSet | None) -> dict[str, Any]:
        """What gate.json holds."""
        out = report(self.verdicts)
        out["layers"] = {
            flavour: {"quantised": self.quantised[flavour], "alone": layers.rows(found)}
            for flavour, found in self.tables.items()
        }
        if calibration:
            out["calibration"] = calibration.describe()
        return out


def asked(precisions: str) -> list[str]:
    """Flavours that a list such as "fp32,fp16,int8" stands for; fp32 always.

    Raises:
        ValueError: an unknown name.
    """
    names = [name.strip() for name in precisions.split(",") if name.strip()]
    known = FLAVOURS | {flavour: (flavour,) for flavour in SCHEMES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown precision {unknown[0]!r}; choose from {', '.join(known)}")
    return list(dict.fromkeys(["fp32", *(flavour for name in names for flavour in known[name])]))


def make(
    model: onnx.ModelProto,
    flavours: list[str],
    nu: float,
    scans: list[KnownScan],
    calibration: CalibrationSet | None,
    tell: Callable[[str], None],
) -> Made:
    """Make and judge flavours.

    Args:
        model: FP32, its convolutions named.
        flavours: as `asked` gives them.
        nu: degrees of freedom of the prior.
        scans: the verification set.
        calibration: needed for the INT8 flavours.
        tell: called with what is being done, and with tables.
    """
    made = Made({"fp32": model})
    if flavours == ["fp32"]:
        return made
    with TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "fp32.onnx")
        gate = Gate(scans, folder / "fp32.onnx", nu)
        if "fp16" in flavours:
            made.models["fp16"] = to_fp16(model)
            made.verdicts.append(_judge(gate, "fp16", made.models["fp16"], folder))
        eights = [flavour for flavour in flavours if flavour in SCHEMES]
        if eights:
            assert calibration is not None
            quantiser = Quantiser(model, calibration.features)
            noisy = [scan for scan in scans if scan.snr <= TABLE_SNR] or scans
            quick = Gate(noisy[:TABLE_SCANS], folder / "fp32.onnx", nu)
        for flavour in eights:
            tell(f"{flavour}: layer by layer")
            made.tables[flavour] = layers.measure(model, flavour, quantiser, quick, folder)
            tell(layers.table(flavour, made.tables[flavour]))
            tried: dict[tuple[str, ...], tuple[onnx.ModelProto, Verdict]] = {}

            def passes(names: list[str], flavour: str = flavour, tried: dict[Any, Any] = tried) -> bool:
                candidate = quantiser(flavour, names)
                verdict = _judge(gate, flavour, candidate, folder)
                tell(f"{flavour}, {' '.join(names)}: {verdict.load:.2f} of the limit")
                tried[tuple(names)] = candidate, verdict
                return verdict.passed

            chosen = layers.choose(made.tables[flavour], passes)
            made.quantised[flavour] = chosen
            if tried:  # what was refused is reported too
                made.models[flavour], verdict = tried.get(tuple(chosen), list(tried.values())[-1])
                made.verdicts.append(verdict)
    return made


def _judge(gate: Gate, flavour: str, model: onnx.ModelProto, folder: Path) -> Verdict:
    path = folder / f"{flavour}.onnx"
    onnx.save(model, path)
    return gate.judge(flavour, path)

"""A simulated scan as files: NIfTI, gradients by the FSL rule, and a sidecar that says it is simulated."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from edge_pigment import __version__
from edge_pigment.gradients import fsl_signs
from edge_pigment.simulate.scan import SimulatedScan

INT16_PEAK = 30000


def write_scan(scan: SimulatedScan, stem: Path, integers: bool = True) -> Path:
    """Write stem.nii.gz, stem.bval, stem.bvec and stem.json; the folder is made where it is missing.

    Args:
        scan: what to write.
        stem: path without a suffix, e.g. folder/sub-demo_dwi.
        integers: int16 with a scale factor, as scanners write, or float32.

    Returns:
        the image's path.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(stem.name + ".nii.gz")
    slope, data = 1.0, scan.signal
    if integers:
        slope = max(float(scan.signal.max()), 1e-12) / INT16_PEAK
        data = np.round(scan.signal / slope).astype(np.int16)
    image: Any = nib.Nifti1Image(data, scan.affine)  # type: ignore[no-untyped-call]
    image.header.set_slope_inter(slope, 0)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(scan.affine, 1)
    image.set_qform(scan.affine, 1)
    nib.save(image, path)
    # Not GradientTable.write_fsl: a trace image has no direction, which a table refuses.
    bvecs = (scan.bvecs * fsl_signs(scan.affine)).T + 0.0  # no -0
    _text(stem, "bval", " ".join(f"{b:g}" for b in scan.bvals) + "\n")
    _text(stem, "bvec", "".join(" ".join(f"{v:.8g}" for v in row) + "\n" for row in bvecs))
    _text(stem, "json", json.dumps(sidecar(scan), indent=2, ensure_ascii=False) + "\n")
    return path


def sidecar(scan: SimulatedScan) -> dict[str, object]:
    """What a reader of the files must know: that they are simulated, and how."""
    brain = scan.truth.brain > 0.5
    return {
        "Simulated": True,
        "Description": "Simulated diffusion scan; no person or animal was scanned.",
        "Manufacturer": "none (simulated)",
        "GeneratedBy": {"Name": "edge-pigment simulate", "Version": __version__, "Seed": scan.seed},
        "Protocol": scan.protocol.model_dump(mode="json"),
        "Noise": scan.noise.model_dump(mode="json"),
        "Faults": scan.faults.model_dump(mode="json"),
        "MeanNoiseSDInBrain": float(scan.sigma[brain].mean()) if brain.any() else None,
        "TruthBValue": scan.truth.b,
    }


def _text(stem: Path, suffix: str, text: str) -> None:
    stem.with_name(f"{stem.name}.{suffix}").write_text(text, encoding="utf-8")

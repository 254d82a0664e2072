"""Files of the simulator: a tensor image in; a scan out, with a sidecar that says it is simulated."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from edge_pigment import __version__
from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.gradients import fsl_signs
from edge_pigment.reading.image import open_image
from edge_pigment.simulate.scan import SimulatedScan
from edge_pigment.simulate.subject import Subject

Image = NDArray[np.float32]

INT16_PEAK = 30000
_DIAGONAL_FIRST = [0, 3, 5, 1, 2, 4]
"""Dxx Dxy Dxz Dyy Dyz Dzz, as tensor images are written -> Dxx Dyy Dzz Dxy Dxz Dyz, as inside."""
UNIT_MM2_PER_S = 1000.0
"""mm²/s -> µm²/ms."""


def read_subject(tensor: Path, S0: Path | None = None) -> Subject:
    """A subject from a tensor image as `edge-pigment run` and FSL's dtifit write it.

    Args:
        tensor: NIfTI (X, Y, Z, 6), mm²/s, Dxx Dxy Dxz Dyy Dyz Dzz in the frame of .bvec files.
        S0: NIfTI (X, Y, Z) on the same grid; default: 1 wherever there is a tensor.

    Raises:
        InputError: a file is missing, no NIfTI image, or of another shape.
    """
    six, affine = _load(tensor)
    if six.ndim != 4 or six.shape[3] != 6:
        why = f"{tensor} has shape {six.shape}; a tensor image has (X, Y, Z, 6)"
        raise InputError(texts.SETTINGS_WRONG.format(where="tensor", why=why))
    six = UNIT_MM2_PER_S * six[..., _DIAGONAL_FIRST]
    six[..., 3:5] *= fsl_signs(affine)[0]
    full = np.isfinite(six).all(-1) & (six[..., :3].sum(-1) > 0)
    if S0 is None:
        return Subject.from_tensor(full, six, affine)
    b0 = _load(S0)[0]
    if b0.shape != full.shape:
        why = f"{S0} has shape {b0.shape}, the tensors have {full.shape}"
        raise InputError(texts.SETTINGS_WRONG.format(where="S0", why=why))
    return Subject.from_tensor(np.where(full, b0, 0), six, affine)


def _load(path: Path) -> tuple[Image, NDArray[np.float64]]:
    """(X, Y, Z) or (X, Y, Z, N) values, and the affine (4, 4)."""
    image = open_image(path)
    if image.dtype.kind not in "iuf":
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=f"it holds {image.dtype} values"))
    volumes = [np.asfortranarray(volume, np.float32) for volume in image.volumes()]
    values = volumes[0] if image.count == 1 else np.stack(volumes, -1)
    return values, image.orientation.affine


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
    # Not GradientTable.write_fsl, which refuses what a careless protocol may hold: a trace image beside directions.
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

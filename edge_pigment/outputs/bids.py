"""Names, units and sidecars of a result's files: BIDS derivatives.

The names follow BEP016, the diffusion extension, which is a draft (bids-specification pull request 2258, read
in 2026); whatever it becomes, `MAPS` is the one place to change. Where the draft has no label (V1, novelty,
data share, residual, provenance, the sheet) ours are plain and listed in .bidsignore.

Tensors and V1 are in image axes inside and are written in the frame of .bvec files, which the draft calls
"bvec": image axes, the first component negated where det(affine) > 0. The draft also sets the order of a
tensor's elements, row by row (as FSL's dtifit writes them), while inside the diagonal comes first.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment.reading.image import stem as image_stem

BIDS_VERSION = "1.10.0"
DIFFUSIVITY = "mm^2/s"
NO_UNIT = "1"

_TENSOR_ENCODING = {
    "Type": "tensor",
    "TensorRank": 2,
    "EncodingAxis": 3,
    "Reference": "bvec",
    "AntipodalSymmetry": True,
}
_VECTOR_ENCODING = {
    "Type": "unit3vector",
    "EncodingAxis": 3,
    "Reference": "bvec",
    "AntipodalSymmetry": True,
    "FillValue": 0.0,
}
MASK, PROVENANCE, SHEET, REPORT = "desc-brain_mask", "provenance.json", "sheet.png", "report.html"
"""Ends of the names of the other files of a result."""
_ROW_BY_ROW = [0, 3, 4, 1, 5, 2]
"""Dxx Dyy Dzz Dxy Dxz Dyz, as inside -> Dxx Dxy Dxz Dyy Dyz Dzz, as in files."""
_FRAME = (
    "Frame: that of .bvec files (FSL, BIDS): image axes i, j, k, the first component negated where the 3x3 "
    "part of the image's affine has a positive determinant."
)


@dataclass(frozen=True)
class MapFile:
    """How one map of a result is written: file name, unit, sidecar."""

    param: str
    units: str
    description: str
    desc: str = ""
    encoding: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None

    def suffix(self, model: str = "tensor") -> str:
        """The file name after the scan's own entities, without extension."""
        desc = f"_desc-{self.desc}" if self.desc else ""
        return f"model-{model}{desc}_param-{self.param}_dwimap"


def _pair(name: str, param: str, units: str, what: str) -> dict[str, MapFile]:
    return {
        name: MapFile(param, units, f"{what}: posterior expectation."),
        f"{name}_sd": MapFile(param, units, f"{what}: posterior standard deviation.", desc="sd"),
    }


MAPS: dict[str, MapFile] = {
    **_pair("FA", "fa", NO_UNIT, "Fractional anisotropy"),
    **_pair("MD", "md", DIFFUSIVITY, "Mean diffusivity"),
    **_pair("AD", "ad", DIFFUSIVITY, "Axial diffusivity, the largest eigenvalue"),
    **_pair("RD", "rd", DIFFUSIVITY, "Radial diffusivity, the mean of the two smaller eigenvalues"),
    **_pair("S0", "s0", "arbitrary", "Signal without diffusion weighting, in the units of the scan"),
    "tensor": MapFile(
        "diffusivity",
        DIFFUSIVITY,
        f"Diffusion tensor: posterior expectation. Volumes: Dxx, Dxy, Dxz, Dyy, Dyz, Dzz. {_FRAME}",
        encoding=_TENSOR_ENCODING,
        extra={"VolumeOrder": ["Dxx", "Dxy", "Dxz", "Dyy", "Dyz", "Dzz"]},
    ),
    "V1": MapFile(
        "v1",
        NO_UNIT,
        f"Principal direction of diffusion, a unit vector without sign. Volumes: x, y, z. {_FRAME}",
        encoding=_VECTOR_ENCODING,
        extra={"VolumeOrder": ["x", "y", "z"]},
    ),
    "V1_sd": MapFile(
        "v1",
        "degree",
        "Angular standard deviation of the principal direction: root mean square angle.",
        desc="sd",
    ),
    "novelty": MapFile(
        "novelty",
        NO_UNIT,
        "How badly the surroundings predict the voxel's own measurements, or how unlike healthy tissue at such a place "
        "its mean diffusivity is, whichever is more, as a standard normal score: large in lesions, where the prior "
        "does not know the tissue, or where the data are wrong.",
    ),
    "datashare": MapFile(
        "datashare",
        NO_UNIT,
        "Share of the result that the voxel's own measurements determine: 0, the prior alone; 1, the data alone.",
    ),
    "residual": MapFile(
        "residual",
        NO_UNIT,
        "Root mean square of measurement minus model, in units of the noise's sd: about 1.",
    ),
}
"""Every map a result can hold, by the name it has in `Result.maps`."""

MODEL = {
    "Description": "Diffusion tensor, positive semi-definite: posterior of each voxel given its own "
    "measurements and a learned prior from its surroundings.",
    "Parameters": {"FitMethod": "Bayesian, by damped Gauss-Newton with a Rician noise floor"},
}
BIDSIGNORE = "*_dwimap.*\n*_provenance.json\n*_sheet.png\n*_report.html\n"
"""What validators of the published standard do not know."""
_MARK = 8
"""Letters of a hash that tell names apart which were cut."""
_LONGEST_PREFIX = 255 - max(len(f"_{stem}.nii.gz") for stem in (*(entry.suffix() for entry in MAPS.values()), MASK))
"""Letters: file systems take names of 255 bytes."""
_BIDS_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_dwi$")


@dataclass(frozen=True)
class ScanName:
    """What the files of a result are called.

    Attributes:
        prefix: the scan's BIDS entities, such as sub-01_ses-2_acq-fast.
        folder: below the dataset, such as sub-01/ses-2/dwi.
        source: the scan relative to its dataset, as BIDS URIs want it; None if it was never a file.
        source_root: folder of that dataset.
        shortened: the scan's own name was too long for the files of a result.
    """

    prefix: str
    folder: Path
    source: str | None = None
    source_root: Path | None = None
    shortened: bool = False

    @property
    def participant(self) -> str:
        """Such as sub-01."""
        return self.folder.parts[0]

    @classmethod
    def of(cls, image: Path | None) -> "ScanName":
        """Name the results of a scan; a name that is not BIDS becomes one participant's label."""
        if image is None:
            return cls("sub-scan", Path("sub-scan", "dwi"))
        image = Path(os.path.abspath(image))
        stem = image_stem(image)
        match = _BIDS_NAME.match(stem)
        if not match:
            label = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"_dwi$", "", stem, flags=re.IGNORECASE)) or "scan"
            prefix = _fitted(f"sub-{label}")
            return cls(prefix, Path(prefix, "dwi"), image.name, image.parent, prefix != f"sub-{label}")
        # desc tells versions of the scan apart; of the maps it tells expectation and sd apart
        entities = [e for e in match["entities"].split("_") if not e.startswith("desc-")]
        folder = Path(*[e for e in entities if e.startswith(("sub-", "ses-"))], "dwi")
        root = image.parents[len(folder.parts)]
        if root / folder != image.parent:
            root = image.parent
        prefix = _fitted("_".join(entities))
        shortened = prefix != "_".join(entities)
        if shortened:
            folder = Path(*[e for e in prefix.split("_") if e.startswith(("sub-", "ses-"))], "dwi")
        return cls(prefix, folder, image.relative_to(root).as_posix(), root, shortened)

    def path(self, suffix: str) -> Path:
        """A file of the result, relative to the dataset."""
        return self.folder / f"{self.prefix}_{suffix}"


def _fitted(prefix: str) -> str:
    """The entities with values short enough for the longest name of a result.

    A value that is cut ends in a mark of the whole prefix, so that scans whose names differ only behind the cut keep
    names that differ, and the same scan has the same name in every run.
    """
    mark = hashlib.sha256(prefix.encode()).hexdigest()[:_MARK]
    entities = prefix.split("_")
    while (over := len("_".join(entities)) - _LONGEST_PREFIX) > 0:
        longest = max(range(len(entities)), key=lambda n: len(entities[n]))
        key, _, value = entities[longest].partition("-")
        kept = len(value) - over - _MARK if len(value) - over > 2 * _MARK else _MARK
        shorter = f"{key}-{value[:kept]}{mark}"
        if len(shorter) >= len(entities[longest]):
            entities = entities[:1]  # a name of many short entities: the participant and the mark
            entities[0] = f"{entities[0][: _LONGEST_PREFIX - _MARK]}{mark}"
            break
        entities[longest] = shorter
    return "_".join(entities)


def planned_files(name: ScanName) -> list[Path]:
    """Every file of a result with all maps, relative to the dataset."""
    suffixes = [f"{stem}{ext}" for stem in (*(m.suffix() for m in MAPS.values()), MASK) for ext in (".nii.gz", ".json")]
    return [name.path(s) for s in (*suffixes, PROVENANCE, SHEET, REPORT)]


def as_written(name: str, data: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """A map of a result as it lies in the file: in the frame of .bvec files, tensor elements row by row."""
    values = np.asarray(data, np.float32)
    if name == "tensor":
        values = np.asfortranarray(values[..., _ROW_BY_ROW])
    odd_in_x = {"tensor": slice(1, 3), "V1": slice(0, 1)}.get(name)
    if odd_in_x and np.linalg.det(affine[:3, :3]) > 0:
        values = values.copy(order="F")
        values[..., odd_in_x] *= -1
    return values


def sidecar(entry: MapFile) -> dict[str, Any]:
    """What the JSON file beside a map says, without its sources."""
    content: dict[str, Any] = {"Description": entry.description, "Units": entry.units, "Model": MODEL}
    if entry.encoding:
        content["OrientationEncoding"] = entry.encoding
    return content | dict(entry.extra or {})

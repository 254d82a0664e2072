"""One scan: the signal, its gradient table and where it lies; reading and checking it.

Whatever is wrong with the files ends in one `InputError` that says what and how to mend it; whatever is
doubtful but usable ends in `Acquisition.warnings`.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable

Volume = NDArray[np.float32]

IMAGE_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, eq=False)
class Acquisition:
    """A diffusion scan.

    Attributes:
        signal: (X, Y, Z, N) magnitudes, float32, Fortran order: `signal.T` is a C-contiguous (N, Z, Y, X).
        gradients: of the N volumes, directions along the image axes.
        affine: (4, 4) voxel indices -> scanner mm.
        path: of the image, None if it was never a file.
        header: NIfTI header of the image, to derive the headers of maps from.
        warnings: what the user should know about the files, one sentence each.

    Raises:
        InputError: the gradient table has another number of volumes than the signal.
    """

    signal: Volume
    gradients: GradientTable
    affine: NDArray[np.float64]
    path: Path | None = None
    header: Any = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        signal = np.asfortranarray(self.signal, np.float32)
        if signal.ndim != 4:
            raise ValueError(f"signal (X, Y, Z, N) expected, got {signal.shape}")
        count = len(self.gradients)
        if signal.shape[3] != count:
            raise InputError(texts.COUNTS_DIFFER.format(image=signal.shape[3], bvals=count, bvecs=count))
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """(3,) mm, along the image axes."""
        size: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return size

    @property
    def mean_b0(self) -> Volume:
        """(X, Y, Z) mean of the b=0 volumes' finite values; NaN where there is none."""
        return self._mean(self.gradients.is_b0)

    @property
    def mean_dwi(self) -> Volume:
        """(X, Y, Z) mean of the diffusion-weighted volumes' finite values; NaN where there is none."""
        return self._mean(~self.gradients.is_b0)

    def with_b0_threshold(self, threshold: float | None = None) -> "Acquisition":
        """The scan with what counts as b=0 decided anew, as `GradientTable.with_b0_threshold` does."""
        table = self.gradients.with_b0_threshold(threshold)
        return self if table is self.gradients else replace(self, gradients=table)

    def subset(self, indices: ArrayLike) -> "Acquisition":
        """The scan with only these volumes (indices or boolean mask), in this order."""
        chosen = np.asarray(indices)
        return Acquisition(
            self.signal[..., chosen],
            self.gradients.subset(chosen),
            self.affine,
            self.path,
            self.header,
            self.warnings,
        )

    def _mean(self, chosen: NDArray[np.bool_]) -> Volume:
        # one volume at a time: a boolean index would copy the scan
        total = np.zeros(self.signal.shape[:3], np.float32, order="F")
        with np.errstate(invalid="ignore"):  # inf - inf
            for n in np.flatnonzero(chosen):
                total += self.signal[..., n]
        if np.isfinite(total).all():
            return total / np.float32(max(chosen.sum(), 1))
        total[:] = 0
        count = np.zeros_like(total)
        for n in np.flatnonzero(chosen):
            known = np.isfinite(self.signal[..., n])
            total += np.where(known, self.signal[..., n], np.float32(0))
            count += known
        return np.where(count > 0, total / np.maximum(count, 1), np.float32(np.nan))


def read_acquisition(
    image: str | Path,
    bval: str | Path | None = None,
    bvec: str | Path | None = None,
    b0_threshold: float | None = None,
) -> Acquisition:
    """Read a scan and check it.

    Args:
        image: 4D NIfTI of magnitudes (.nii or .nii.gz).
        bval: b-values, s/mm²; default: the image's name with .bval.
        bvec: directions by the BIDS/FSL rule; default: the image's name with .bvec.
        b0_threshold: s/mm², the largest b that counts as b=0; None: 50, or more where no volume is below.

    Raises:
        InputError: a file is missing, damaged, or not what is expected.
    """
    path = Path(image)
    nifti = _open(path)
    header = nifti.header
    if len(nifti.shape) != 4:
        raise InputError(texts.IMAGE_NOT_4D.format(path=path, shape=nifti.shape))
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InputError(texts.IMAGE_NOT_REAL.format(path=path, dtype=dtype))
    affine = np.asarray(nifti.affine, np.float64)
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise InputError(texts.AFFINE_SINGULAR.format(path=path))
    # the small files first: what is wrong with them is told before a large image is read
    gradients = GradientTable.from_fsl_files(
        _gradient_file(path, "bval", bval),
        _gradient_file(path, "bvec", bvec),
        affine,
        nifti.shape[3],
        b0_threshold,
    )
    warnings = []
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        warnings.append(texts.ORIENTATION_UNKNOWN.format(path=path))
    signal, missing = _read_signal(nifti, path)
    if missing:
        warnings.append(texts.VOXELS_NOT_FINITE.format(path=path, count=missing))
    return Acquisition(signal, gradients, affine, path, header.copy(), tuple(warnings))


def find_bids(folder: str | Path, participant_label: str | Sequence[str] | None = None) -> list[Path]:
    """Diffusion scans of a BIDS dataset, sorted: `sub-*/[ses-*/]dwi/*_dwi.nii[.gz]`, phase images left out.

    Args:
        folder: of the dataset.
        participant_label: one label or several, with or without `sub-`; None for every participant.

    Raises:
        InputError: no such folder, no BIDS dataset, no such participant, or no diffusion scan.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(texts.BIDS_FOLDER_MISSING.format(path=root))
    participants = {p.name.removeprefix("sub-"): p for p in sorted(root.glob("sub-*")) if p.is_dir()}
    if not participants:
        raise InputError(texts.BIDS_NO_SUBJECTS.format(path=root))
    asked = [participant_label] if isinstance(participant_label, str) else participant_label
    labels = list(participants) if asked is None else [label.removeprefix("sub-") for label in asked]
    scans: list[Path] = []
    for label in labels:
        if label not in participants:
            known = ", ".join(participants)
            raise InputError(texts.BIDS_NO_PARTICIPANT.format(path=root, label=label, known=known))
        found = [
            scan
            for pattern in ("dwi/*_dwi.nii*", "ses-*/dwi/*_dwi.nii*")
            for scan in participants[label].glob(pattern)
            if scan.name.endswith(IMAGE_SUFFIXES) and "_part-phase_" not in scan.name
        ]
        if not found and asked is not None:
            raise InputError(texts.BIDS_NO_DWI.format(path=root, label=f"sub-{label}"))
        scans += sorted(found)
    if not scans:
        raise InputError(texts.BIDS_NO_DWI.format(path=root, label="any participant"))
    return scans


def stem(path: Path) -> str:
    """File name without .nii.gz or .nii."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def _gradient_file(image: Path, kind: str, given: str | Path | None) -> Path:
    """The .bval or .bvec: as given, beside the image, or inherited from a folder above in a BIDS dataset."""
    path = image.with_name(f"{stem(image)}.{kind}") if given is None else Path(given)
    if path.is_file():
        return path
    for inherited in _inherited(image, kind) if given is None else ():
        return inherited
    raise InputError(texts.GRADIENT_FILE_MISSING.format(kind=kind, looked=path))


def _inherited(image: Path, kind: str) -> list[Path]:
    """Files that apply by the inheritance principle of BIDS, the nearest and most specific first.

    A file in a folder above applies to every image whose entities include all of the file's.
    """
    *entities, suffix = stem(image).split("_")
    if not entities or not entities[0].startswith("sub-"):
        return []
    found: list[Path] = []
    for folder in image.absolute().parents:
        fits = [
            path
            for path in folder.glob(f"*{suffix}.{kind}")
            if path.stem.split("_")[-1] == suffix and set(path.stem.split("_")[:-1]) <= set(entities)
        ]
        found += sorted(fits, key=lambda path: (-path.stem.count("_"), path.name))
        if (folder / "dataset_description.json").is_file() or (folder / entities[0]).is_dir():
            break  # the root of the dataset
    return found


def _open(path: Path) -> Any:
    """The NIfTI image, its voxels not read yet."""
    if not path.is_file():
        raise InputError(texts.IMAGE_MISSING.format(path=path))
    try:
        nifti = nib.load(path)
    except (EOFError, zlib.error) as error:
        raise InputError(texts.IMAGE_TRUNCATED.format(path=path, why=error)) from error
    except (ImageFileError, HeaderDataError, OSError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why)) from error
    if not isinstance(nifti, nib.Nifti1Pair):
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=f"it is a {type(nifti).__name__}"))
    return nifti


def _read_signal(nifti: Any, path: Path) -> tuple[Volume, int]:
    """(X, Y, Z, N) scaled float32 in Fortran order, and how many values are not finite.

    nibabel's own scaling makes a float64 copy of the whole scan; here only the stored values and the float32
    result are in memory.
    """
    try:
        stored = nifti.dataobj.get_unscaled()
    except (EOFError, OSError, ValueError, zlib.error) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(texts.IMAGE_TRUNCATED.format(path=path, why=why)) from error
    slope, inter = float(nifti.dataobj.slope), float(nifti.dataobj.inter)
    as_stored = (slope, inter) == (1.0, 0.0)
    signal = np.empty(stored.shape, np.float32, order="F")
    empty, missing = [], 0
    for n in range(stored.shape[3]):
        volume = stored[..., n]
        if not as_stored:
            volume = volume.astype(np.float64) * slope + inter
        signal[..., n] = volume
        if volume.dtype.kind == "f":
            volume = volume[np.isfinite(volume)]
            missing += signal[..., n].size - volume.size
        if volume.size == 0 or volume.min() == volume.max():
            empty.append(n)
    if len(empty) == stored.shape[3]:
        raise InputError(texts.IMAGE_WITHOUT_SIGNAL.format(path=path))
    if empty:
        raise InputError(texts.VOLUMES_WITHOUT_SIGNAL.format(path=path, volumes=texts.listed(empty)))
    return signal, missing

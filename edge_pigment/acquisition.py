"""One scan: the signal, its gradient table and where it lies; reading and checking it.

Whatever is wrong with the files ends in one `InputError` that says what and how to mend it; whatever is
doubtful but usable ends in `Acquisition.warnings`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError, UnrelatedError
from edge_pigment.gradients import GradientTable
from edge_pigment.reading.bids import find_bids, gradient_file
from edge_pigment.reading.image import Image, open_image
from edge_pigment.reading.tables import read_numbers

__all__ = ["Acquisition", "find_bids", "has_signal", "read_acquisition", "real_image"]

Volume = NDArray[np.float32]

FEW = 5
"""Volumes of an image that, without a .bval file, is taken for b=0 volumes alone; a tensor needs more."""


@dataclass(frozen=True, eq=False)
class Acquisition:
    """A diffusion scan.

    Attributes:
        signal: (X, Y, Z, N) magnitudes, float32, Fortran order: `signal.T` is a C-contiguous (N, Z, Y, X).
        gradients: of the N volumes, directions along the image axes.
        affine: (4, 4) voxel indices -> scanner mm.
        path: of the image, None if it was never a file.
        header: NIfTI header of the image, in mm and fit to derive the headers of maps from; see
            `reading.orientation`.
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
    def oriented(self) -> bool:
        """Whether the affine is one that the file states, not a default."""
        return self.header is None or bool(self.header["sform_code"] > 0 or self.header["qform_code"] > 0)

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

    def subset_of_slices(self, slices: slice) -> "Acquisition":
        """The scan with only these of its slices (along the third axis); the affine stays that of the whole."""
        return replace(self, signal=self.signal[:, :, slices])

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
        image: 4D NIfTI of magnitudes: .nii, .nii.gz, or a .hdr and .img pair.
        bval: b-values, s/mm²; default: the image's name with .bval, or as inherited in a BIDS dataset.
        bvec: directions by the BIDS/FSL rule; default: the image's name with .bvec, or as inherited.
        b0_threshold: s/mm², the largest b that counts as b=0; None: 50, or more where no volume is below.

    Raises:
        InputError: a file is missing, damaged, or not what is expected.
        UnrelatedError: the image is no diffusion scan but one volume, or b=0 volumes only.
    """
    path = Path(image)
    nifti = real_image(path)
    warnings = list(nifti.warnings)
    if len(nifti.shape) == 3 or nifti.count == 1:
        _refuse_one_volume(nifti, bval)
    # the small files first: what is wrong with them is told before a large image is read
    tables = _find_tables(nifti, bval, bvec, warnings)
    _refuse_other_order(nifti, tables["bval"])
    affine = nifti.orientation.affine
    gradients = GradientTable.from_fsl_files(tables["bval"], tables["bvec"], affine, nifti.count, b0_threshold)
    if not nifti.orientation.stated:
        warnings.append(texts.ORIENTATION_UNKNOWN.format(path=path))
    signal, missing = _read_signal(nifti)
    if missing:
        warnings.append(texts.VOXELS_NOT_FINITE.format(path=path, count=missing))
    return Acquisition(signal, gradients, affine, path, nifti.orientation.header, tuple(warnings))


def real_image(path: Path) -> Image:
    """Open an image of real numbers, with volumes along one dimension.

    Raises:
        InputError: no such image, complex or coloured, or with more dimensions than a scan has.
    """
    nifti = open_image(path)
    if nifti.dtype.kind not in "iuf":
        raise InputError(texts.IMAGE_NOT_REAL.format(path=path, dtype=nifti.dtype))
    if sum(n > 1 for n in nifti.shape[3:]) > 1:
        raise InputError(texts.IMAGE_NOT_4D.format(path=path, shape=nifti.shape))
    if len(nifti.shape) > 4 and nifti.shape[3] == 1 and nifti.count > 1:
        text = texts.VECTOR_VOLUMES.format(path=path, shape=nifti.shape)
        return replace(nifti, warnings=(*nifti.warnings, text))
    return nifti


def has_signal(volume: Volume) -> bool:
    """Whether a volume holds at least two finite values."""
    low, high = volume.min(), volume.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        known = volume[np.isfinite(volume)]
        return bool(known.size) and bool(known.min() < known.max())
    return bool(low < high)


def _find_tables(
    nifti: Image, bval: str | Path | None, bvec: str | Path | None, warnings: list[str]
) -> dict[str, Path]:
    """The .bval and the .bvec file; that one is inherited is told."""
    path, tables = nifti.path, {}
    for kind, given in (("bval", bval), ("bvec", bvec)):
        try:
            tables[kind], inherited = gradient_file(path, kind, given)
        except InputError as error:
            # converters write no tables for b=0 volumes that serve to correct distortion
            if kind == "bval" and nifti.count <= FEW and type(error) is InputError:
                raise UnrelatedError(str(error)) from error
            raise
        if inherited:
            warnings.append(texts.TABLE_INHERITED.format(kind=f".{kind}", image=path.name, path=tables[kind]))
    return tables


def _refuse_one_volume(nifti: Image, bval: str | Path | None) -> None:
    """Tell a single volume from a series whose slices and volumes lie along one dimension."""
    slices = nifti.grid[2]
    try:
        count = read_numbers(gradient_file(nifti.path, "bval", bval)[0], "bval").size
    except InputError:
        count = 1
    if count > 1 and slices % count == 0:
        raise InputError(
            texts.IMAGE_FOLDED.format(
                path=nifti.path, shape=nifti.shape, slices=slices, count=count, each=slices // count
            )
        )
    raise UnrelatedError(texts.IMAGE_NOT_4D.format(path=nifti.path, shape=nifti.shape))


def _refuse_other_order(nifti: Image, bval: Path) -> None:
    """Tell volumes along the first or third dimension, if there are as many b-values."""
    count = read_numbers(bval, "bval").size
    fits = [n for n in (1, 3) if nifti.grid[n - 1] == count]
    if nifti.count != count and len(fits) == 1:
        raise InputError(
            texts.IMAGE_AXES_ORDER.format(path=nifti.path, shape=nifti.shape, count=count, axis=fits[0])
        )


def _read_signal(nifti: Image) -> tuple[Volume, int]:
    """(X, Y, Z, N) scaled float32 in Fortran order, and how many values are not finite."""
    signal: Volume | None = None
    empty, missing = [], 0
    for n, volume in enumerate(nifti.volumes()):
        if signal is None:  # the file's size fits the header
            signal = np.empty((*nifti.grid, nifti.count), np.float32, order="F")
        with np.errstate(all="ignore"):
            signal[..., n] = volume
        if volume.dtype.kind == "f":
            missing += signal[..., n].size - int(np.isfinite(signal[..., n]).sum())
        if not has_signal(signal[..., n]):
            empty.append(n)
    if signal is None or len(empty) == nifti.count:
        raise InputError(texts.IMAGE_WITHOUT_SIGNAL.format(path=nifti.path))
    if empty:
        raise InputError(texts.VOLUMES_WITHOUT_SIGNAL.format(path=nifti.path, volumes=texts.listed(empty)))
    return signal, missing

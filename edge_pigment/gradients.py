"""The gradient table of a scan: b-values and directions, in one convention, stated here.

Frame. Inside edge-pigment directions lie along the image (voxel) axes i, j, k. Files follow the BIDS/FSL
rule: the components of a `.bvec` file refer to the image axes, except that the first is negated where
det(affine) > 0 (FSL FDT guide, "What conventions do the bvecs use?"; BIDS, "Diffusion imaging data").
`from_fsl_files` and `to_fsl` are the only places where that sign is applied.

Units. b in s/mm² here and in files. A volume counts as b=0 where b <= b0_threshold. The model takes it with its own b
and direction all the same, unless b is negligible; without a direction it is one of all directions, as a trace image.

Trace images. A diffusion-weighted volume without a direction, 0 0 0, is taken for a trace image, the geometric mean of
three orthogonal directions, where no volume of its shell has one. Beside directions it is refused: there it is a mean
that the console derived of them, or a mistake.

Length. Directions are unit vectors. Within NORM_TOLERANCE they are normalised; outside it they are refused,
since some scanners write the b-value of a volume into the length of its vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError, UnrelatedError
from edge_pigment.reading.tables import read_numbers

Float = NDArray[np.float64]

LARGEST_B = 100_000.0
"""s/mm². Gradients for animals and specimens reach some 50,000."""
B0_THRESHOLD = 50.0
"""s/mm². Scanners write small b-values where they mean none (UIH 1, Philips 0.004); as DIPY."""
NEGLIGIBLE_B = 5.0
"""s/mm², up to which the model takes b for 0: it costs tissue 0.4 % of its signal and fluid 1.5 %, which is less than
scanners drift, and what they write there (0.004, 1, 5) are their imaging gradients rather than a measurement."""
HIGHEST_ANCHOR = 100.0
"""s/mm². Where no volume is at b <= B0_THRESHOLD, the lowest b up to here stands for b=0: tissue keeps nine tenths of
its signal, and the model adds the rest (b=0 of HCP's 7 T scans is stored as 55 to 65)."""
ANCHOR_SHARE = 0.25
"""Of the largest b: the volumes that stand for b=0 must be clearly below the others."""
NORM_TOLERANCE = 0.02
"""Rounding to two decimals moves a length by 1 % at most; where b is meant, 2 % of length is 4 % of b."""
SHELL_GAP = 80.0
"""s/mm². Neighbouring b-values further apart are two shells; imaging gradients move b by less (MRtrix)."""
SHELL_WIDTH, LEAST_SHELL_WIDTH = 0.1, 50.0
"""Largest spread of a shell, as a share of its lowest b, and in s/mm². Imaging gradients spread b by up to 5 %;
b-values that go on in small steps (IVIM, a grid in q-space) are not alike. Within 10 % the brain's level varies by 10 %
at b = 1000."""
LARGEST_B_IN_MS_PER_UM2 = 20.0
"""A table whose largest b is below is in ms/µm²: no protocol stops at 20 s/mm², few reach 20 ms/µm²."""


class Shell(NamedTuple):
    """Diffusion-weighted volumes of about one b-value, no more than SHELL_WIDTH or LEAST_SHELL_WIDTH apart."""

    bval: float
    """Median, s/mm²."""
    indices: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class GradientTable:
    """b-values (N,) in s/mm² and unit directions (N, 3) along the image axes, zero where there is none.

    None is in trace images, at negligible b, and where a volume that counts as b=0 has no unit vector in the file.
    b0_threshold: s/mm², the largest b that counts as b=0.

    Raises:
        InputError: values that are not finite, b < 0, a direction that is not of unit length where b > b0_threshold, or
            that is zero where others of its shell are not.
    """

    bvals: Float
    bvecs: Float
    b0_threshold: float = B0_THRESHOLD

    def __post_init__(self) -> None:
        bvals = np.array(self.bvals, np.float64)
        bvecs = np.array(self.bvecs, np.float64)
        if bvals.ndim != 1 or bvecs.shape != (len(bvals), 3):
            raise ValueError(f"bvals (N,) and bvecs (N, 3) expected, got {bvals.shape} and {bvecs.shape}")
        _refuse(~np.isfinite(bvals), texts.GRADIENTS_NOT_FINITE, kind="b-value")
        weighted = bvals > self.b0_threshold
        # of b=0 some tools write nan, the normalised zero vector
        bvecs[~weighted & ~np.isfinite(bvecs).all(1)] = 0
        _refuse(~np.isfinite(bvecs).all(1), texts.GRADIENTS_NOT_FINITE, kind="direction")
        _refuse(bvals < 0, texts.BVAL_NEGATIVE)
        most = float(bvals.max(initial=0))
        _refuse(bvals > LARGEST_B, texts.BVAL_TOO_LARGE, bval=most, most=LARGEST_B)
        length = np.linalg.norm(bvecs, axis=1)
        directed = weighted & (length > 0)
        missing = weighted & ~directed
        for shell in _shells(bvals, self.b0_threshold):
            if directed[shell.indices].any():
                _refuse(missing & np.isin(np.arange(len(bvals)), shell.indices), texts.BVEC_ZERO, bval=shell.bval)
        off = directed & (np.abs(length - 1) > NORM_TOLERANCE)
        _refuse(off, texts.BVEC_NOT_UNIT, length=length[off][0] if off.any() else 1.0)
        directed |= ~weighted & (bvals > NEGLIGIBLE_B) & (np.abs(length - 1) <= NORM_TOLERANCE)
        bvecs = np.where(directed[:, None], bvecs / np.where(directed, length, 1)[:, None], 0.0)
        for name, array in (("bvals", bvals), ("bvecs", bvecs)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.bvals)

    @property
    def is_b0(self) -> NDArray[np.bool_]:
        """(N,) where b <= b0_threshold."""
        return self.bvals <= self.b0_threshold

    @property
    def model_bvals(self) -> Float:
        """(N,) s/mm², b as the model takes it: each volume's own, 0 where it is negligible."""
        return np.where(self.bvals <= NEGLIGIBLE_B, 0.0, self.bvals)

    @property
    def is_trace(self) -> NDArray[np.bool_]:
        """(N,) where the volume is a trace image."""
        return ~self.is_b0 & ~self.bvecs.any(axis=1)

    @property
    def shells(self) -> tuple[Shell, ...]:
        """The diffusion-weighted volumes by b-value, ascending; b=0 is left out."""
        return _shells(self.bvals, self.b0_threshold)

    @property
    def alike(self) -> list[NDArray[np.intp]]:
        """Indices of volumes that should look alike but for directions: those of b=0, and those of each shell."""
        b0 = np.flatnonzero(self.is_b0)
        return ([b0] if len(b0) else []) + [shell.indices for shell in self.shells]

    def subset(self, indices: ArrayLike) -> "GradientTable":
        """The volumes with these indices (or this boolean mask), in this order."""
        chosen = np.asarray(indices)
        return GradientTable(self.bvals[chosen], self.bvecs[chosen], self.b0_threshold)

    def with_b0_threshold(self, threshold: float | None = None) -> "GradientTable":
        """The table with what counts as b=0 decided anew.

        Args:
            threshold: s/mm²; None: as `find_b0_threshold` finds it, where the table has no b=0 volume.
        """
        if threshold is None:
            threshold = self.b0_threshold if self.is_b0.any() else find_b0_threshold(self.bvals)
        return self if threshold == self.b0_threshold else GradientTable(self.bvals, self.bvecs, threshold)

    def with_signs(self, signs: Sequence[float]) -> "GradientTable":
        """Each component multiplied by its sign, e.g. (-1, 1, 1)."""
        if sorted(set(np.abs(signs))) != [1] or len(signs) != 3:
            raise ValueError(f"three signs of ±1 expected, got {signs}")
        return GradientTable(self.bvals, self.bvecs * np.asarray(signs, float), self.b0_threshold)

    def check_protocol(self) -> None:
        """Refuse a table that no model can be fitted to.

        Raises:
            InputError: b in ms/µm², no b=0 volume, no diffusion-weighted volume.
        """
        _refuse_unit(self.bvals)
        if self.is_b0.all():
            raise UnrelatedError(texts.NO_DIFFUSION_WEIGHTING.format(largest=float(self.bvals.max(initial=0))))
        if not self.is_b0.any():
            raise InputError(texts.NO_B0.format(threshold=self.b0_threshold, smallest=float(self.bvals.min())))

    @classmethod
    def from_fsl_files(
        cls,
        bval: str | Path,
        bvec: str | Path,
        affine: ArrayLike,
        volumes: int | None = None,
        b0_threshold: float | None = None,
    ) -> "GradientTable":
        """Read a `.bval` and a `.bvec` file.

        Args:
            bval: file of b-values in s/mm², in a row or a column.
            bvec: file of directions by the BIDS/FSL rule, as 3 rows or as 3 columns.
            affine: (4, 4) of the image.
            volumes: number of the image's volumes, where it is known.
            b0_threshold: s/mm², the largest b that counts as b=0; None: as `find_b0_threshold` finds it.

        Raises:
            InputError: a file is missing or no table, the counts differ, or the table makes no sense.
        """
        bval, bvec = Path(bval), Path(bvec)
        numbers, rows = read_numbers(bval, "bval"), read_numbers(bvec, "bvec")
        if 3 in numbers.shape and 1 not in numbers.shape and 1 in rows.shape and 3 not in rows.shape:
            raise InputError(texts.TABLES_SWAPPED.format(bval=bval, bvec=bvec))
        bvals = numbers.ravel()
        _refuse(~np.isfinite(bvals), texts.GRADIENTS_NOT_FINITE, kind="b-value")
        _refuse_unit(bvals)
        if 3 not in rows.shape:
            raise InputError(texts.BVEC_SHAPE.format(path=bvec, rows=rows.shape[0], columns=rows.shape[1]))
        if rows.shape == (3, 3):
            bvecs = _three_directions(bvals, rows, bvec)
        else:
            bvecs = rows.T if rows.shape[0] == 3 else rows
        image = len(bvals) if volumes is None else volumes
        if not image == len(bvals) == len(bvecs):
            raise InputError(
                texts.COUNTS_DIFFER.format(
                    image="(not read)" if volumes is None else volumes, bvals=len(bvals), bvecs=len(bvecs)
                )
            )
        threshold = find_b0_threshold(bvals) if b0_threshold is None else b0_threshold
        table = cls(bvals, bvecs * fsl_signs(affine), threshold)
        table.check_protocol()
        return table

    def to_fsl(self, affine: ArrayLike) -> tuple[Float, Float]:
        """The table as FSL and BIDS files hold it.

        Args:
            affine: (4, 4) of the image that the files will belong to.

        Returns:
            b-values (N,) and directions (3, N) in the file's frame.
        """
        return self.bvals.copy(), (self.bvecs * fsl_signs(affine)).T

    def write_fsl(self, bval: Path, bvec: Path, affine: ArrayLike) -> None:
        """Write `.bval` (one row) and `.bvec` (three rows) by the BIDS/FSL rule."""
        bvals, bvecs = self.to_fsl(affine)
        bval.write_text(" ".join(f"{b:g}" for b in bvals) + "\n")
        # `+ 0.0` turns the -0 of a negated b=0 row into 0
        bvec.write_text("".join(" ".join(f"{v:.8g}" for v in row + 0.0) + "\n" for row in bvecs))


def _shells(bvals: Float, b0_threshold: float) -> tuple[Shell, ...]:
    """Volumes without a gap between their b-values, cut from the lowest b upwards where that would be too wide."""
    indices = np.flatnonzero(bvals > b0_threshold)
    indices = indices[np.argsort(bvals[indices], kind="stable")]
    if not len(indices):
        return ()
    groups: list[list[int]] = []
    for n in indices:
        if groups:
            lowest, last = bvals[groups[-1][0]], bvals[groups[-1][-1]]
            if bvals[n] - last <= SHELL_GAP and bvals[n] - lowest <= max(LEAST_SHELL_WIDTH, SHELL_WIDTH * lowest):
                groups[-1].append(int(n))
                continue
        groups.append([int(n)])
    return tuple(Shell(float(np.median(bvals[group])), np.sort(np.array(group, np.intp))) for group in groups)


def find_b0_threshold(bvals: ArrayLike) -> float:
    """The largest b in s/mm² that counts as b=0: B0_THRESHOLD, or more where no volume is below.

    Then the lowest b-values stand for b=0, if they are at most HIGHEST_ANCHOR and ANCHOR_SHARE of the largest.
    """
    b = np.asarray(bvals, float)
    lowest = float(b.min(initial=np.inf))
    if lowest <= B0_THRESHOLD or lowest > min(HIGHEST_ANCHOR, ANCHOR_SHARE * float(b.max(initial=0))):
        return B0_THRESHOLD
    first = _shells(b, B0_THRESHOLD)[0].indices
    return min(float(b[first].max()), HIGHEST_ANCHOR)


def fsl_signs(affine: ArrayLike) -> Float:
    """(3,) signs between the frame of a `.bvec` file and the image axes: (-1, 1, 1) where det(affine) > 0."""
    return np.array([-1.0 if np.linalg.det(np.asarray(affine, float)[:3, :3]) > 0 else 1.0, 1.0, 1.0])


def _refuse(bad: NDArray[np.bool_] | np.bool_, text: str, **details: object) -> None:
    """Raise the text with the (0-based) indices of the bad volumes, if there are any."""
    if bad.any():
        raise InputError(text.format(volumes=texts.listed(np.flatnonzero(bad)), **details))


def _refuse_unit(bvals: Float) -> None:
    largest = float(bvals.max(initial=0))
    if np.all(bvals == largest):
        return  # b=0 volumes alone, which some scanners write as 5
    if 0 < largest < LARGEST_B_IN_MS_PER_UM2:
        raise InputError(texts.BVAL_UNIT.format(largest=largest))


def _three_directions(bvals: Float, table: Float, path: Path) -> Float:
    """(3, 3) directions of a scan of three volumes, if only one reading of the file has unit directions."""
    if len(bvals) != 3:
        return table.T  # the counts differ, which is refused next
    weighted = bvals > B0_THRESHOLD
    readings = [
        bvecs
        for bvecs in (table.T, table)
        if np.all(np.abs(np.linalg.norm(bvecs[weighted], axis=1) - 1) <= NORM_TOLERANCE)
    ]
    if len(readings) == 2 and not np.allclose(table[weighted], table.T[weighted]):
        raise InputError(texts.BVEC_AMBIGUOUS.format(path=path))
    return readings[0] if readings else table.T

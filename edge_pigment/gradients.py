"""The gradient table of a scan: b-values and directions, in one convention, stated here.

Frame. Inside edge-pigment directions lie along the image (voxel) axes i, j, k. Files follow the BIDS/FSL
rule: the components of a `.bvec` file refer to the image axes, except that the first is negated where
det(affine) > 0 (FSL FDT guide, "What conventions do the bvecs use?"; BIDS, "Diffusion imaging data").
`from_fsl_files` and `to_fsl` are the only places where that sign is applied.

Units. b in s/mm² here and in files. A volume counts as b=0 where b <= B0_THRESHOLD; its direction is zero,
whatever the file says, so that it cannot enter the model.

Trace images. A diffusion-weighted volume without a direction, 0 0 0, is taken for a trace image, the geometric mean of
three orthogonal directions, where no volume of its shell has one. Beside directions it is refused: there it is a mean
that the console derived of them, or a mistake.

Length. Directions are unit vectors. Within NORM_TOLERANCE they are normalised; outside it they are refused,
since some scanners write the b-value of a volume into the length of its vector.

Check. Files break the frame rule often enough, and tensors then look right but for their direction. Where
that happened, fibres do not continue into the voxels that they point at (Schilling et al. 2019, Magn.
Reson. Imaging 58:82; Jeurissen et al. 2014, Med. Image Anal. 18:953). `check_convention` measures this for
each choice of signs. Other signs mirror the tensors and nothing else, so no fit is repeated. Exchanged axes
are not looked for: in artefacts of a sagittal scan they seemed better than the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError, UnrelatedError
from edge_pigment.physics.tensor import quadratic_form
from edge_pigment.reading.tables import read_numbers

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition

Float = NDArray[np.float64]

LARGEST_B = 100_000.0
"""s/mm². Gradients for animals and specimens reach some 50,000."""
B0_THRESHOLD = 50.0
"""s/mm². Scanners write small b-values where they mean none (UIH 1, Philips 0.004); as DIPY."""
NORM_TOLERANCE = 0.02
"""Rounding to two decimals moves a length by 1 % at most; where b is meant, 2 % of length is 4 % of b."""
SHELL_GAP = 80.0
"""s/mm². Neighbouring b-values further apart are two shells; imaging gradients move b by less (MRtrix)."""
LARGEST_B_IN_MS_PER_UM2 = 20.0
"""A table whose largest b is below is in ms/µm²: no protocol stops at 20 s/mm², few reach 20 ms/µm²."""
TRACT_FA = 0.25
"""Fibres are followed from voxels above: white matter, and noise only below an SNR of 10."""
MOST_TRACT_VOXELS = 30_000
"""More add time, not certainty: neighbours are alike."""
LEAST_TRACT_VOXELS = 500
"""Fewer hold less than one long tract."""
LEAST_SLICES = 5
"""Of the image along each axis; in a thinner slab most fibres leave it at once."""
BLOCK = 8
"""Voxels; tracts make neighbours alike, so the standard error is taken between blocks of this size."""
CLEARLY = 4.0
"""Standard errors by which other signs must be better. Where the file's signs were wrong the right ones led by
4.2 to 14 in 18 real scans. With six directions and SNR 10 they led by 3.8 to 8 (0.2 to 2 at 1.2 mm: silent); at SNR
5 by 3.5 at most, and a wrong choice led by 2.5 at most."""


class Shell(NamedTuple):
    """Diffusion-weighted volumes of about one b-value."""

    bval: float
    """Median, s/mm²."""
    indices: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class GradientTable:
    """b-values (N,) in s/mm² and unit directions (N, 3) along the image axes, zero where b=0 and of trace images.

    Raises:
        InputError: values that are not finite, b < 0, a direction that is not of unit length where b > B0_THRESHOLD, or
            that is zero where others of its shell are not.
    """

    bvals: Float
    bvecs: Float

    def __post_init__(self) -> None:
        bvals = np.array(self.bvals, np.float64)
        bvecs = np.array(self.bvecs, np.float64)
        if bvals.ndim != 1 or bvecs.shape != (len(bvals), 3):
            raise ValueError(f"bvals (N,) and bvecs (N, 3) expected, got {bvals.shape} and {bvecs.shape}")
        _refuse(~np.isfinite(bvals), texts.GRADIENTS_NOT_FINITE, kind="b-value")
        _refuse(~np.isfinite(bvecs).all(1), texts.GRADIENTS_NOT_FINITE, kind="direction")
        _refuse(bvals < 0, texts.BVAL_NEGATIVE)
        most = float(bvals.max(initial=0))
        _refuse(bvals > LARGEST_B, texts.BVAL_TOO_LARGE, bval=most, most=LARGEST_B)
        weighted = bvals > B0_THRESHOLD
        length = np.linalg.norm(bvecs, axis=1)
        directed = weighted & (length > 0)
        missing = weighted & ~directed
        for shell in _shells(bvals):
            if directed[shell.indices].any():
                _refuse(missing & np.isin(np.arange(len(bvals)), shell.indices), texts.BVEC_ZERO, bval=shell.bval)
        off = directed & (np.abs(length - 1) > NORM_TOLERANCE)
        _refuse(off, texts.BVEC_NOT_UNIT, length=length[off][0] if off.any() else 1.0)
        bvecs = np.where(directed[:, None], bvecs / np.where(directed, length, 1)[:, None], 0.0)
        for name, array in (("bvals", bvals), ("bvecs", bvecs)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.bvals)

    @property
    def is_b0(self) -> NDArray[np.bool_]:
        """(N,) where b <= B0_THRESHOLD."""
        return self.bvals <= B0_THRESHOLD

    @property
    def is_trace(self) -> NDArray[np.bool_]:
        """(N,) where the volume is a trace image."""
        return ~self.is_b0 & ~self.bvecs.any(axis=1)

    @property
    def shells(self) -> tuple[Shell, ...]:
        """The diffusion-weighted volumes by b-value, ascending; b=0 is left out."""
        return _shells(self.bvals)

    def subset(self, indices: ArrayLike) -> "GradientTable":
        """The volumes with these indices (or this boolean mask), in this order."""
        chosen = np.asarray(indices)
        return GradientTable(self.bvals[chosen], self.bvecs[chosen])

    def with_signs(self, signs: Sequence[float]) -> "GradientTable":
        """Each component multiplied by its sign, e.g. (-1, 1, 1)."""
        if sorted(set(np.abs(signs))) != [1] or len(signs) != 3:
            raise ValueError(f"three signs of ±1 expected, got {signs}")
        return GradientTable(self.bvals, self.bvecs * np.asarray(signs, float))

    def check_protocol(self) -> None:
        """Refuse a table that no model can be fitted to.

        Raises:
            InputError: b in ms/µm², no b=0 volume, no diffusion-weighted volume.
        """
        _refuse_unit(self.bvals)
        if self.is_b0.all():
            raise UnrelatedError(texts.NO_DIFFUSION_WEIGHTING.format(largest=float(self.bvals.max(initial=0))))
        if not self.is_b0.any():
            raise InputError(texts.NO_B0.format(threshold=B0_THRESHOLD, smallest=float(self.bvals.min())))

    @classmethod
    def from_fsl_files(
        cls, bval: str | Path, bvec: str | Path, affine: ArrayLike, volumes: int | None = None
    ) -> "GradientTable":
        """Read a `.bval` and a `.bvec` file.

        Args:
            bval: file of b-values in s/mm², in a row or a column.
            bvec: file of directions by the BIDS/FSL rule, as 3 rows or as 3 columns.
            affine: (4, 4) of the image.
            volumes: number of the image's volumes, where it is known.

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
        # the direction of a b=0 volume means nothing; some tools write nan, the normalised zero vector
        unknown = (bvals <= B0_THRESHOLD) & ~np.isfinite(bvecs).all(1)
        bvecs = np.where(unknown[:, None], 0.0, bvecs)
        table = cls(bvals, bvecs * fsl_signs(affine))
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


def _shells(bvals: Float) -> tuple[Shell, ...]:
    indices = np.flatnonzero(bvals > B0_THRESHOLD)
    indices = indices[np.argsort(bvals[indices], kind="stable")]
    if not len(indices):
        return ()
    groups = np.split(indices, np.flatnonzero(np.diff(bvals[indices]) > SHELL_GAP) + 1)
    return tuple(Shell(float(np.median(bvals[group])), np.sort(group)) for group in groups)


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


SIGNS = {"none": (1, 1, 1), "x": (-1, 1, 1), "y": (1, -1, 1), "z": (1, 1, -1)}
"""The sign choices by what they negate. Two negations are, for tensors, the negation of the third."""


@dataclass(frozen=True)
class Convention:
    """How well fibres continue for each choice of signs of the gradient directions.

    Attributes:
        scores: what is negated ("none", "x", "y", "z") -> mean cos² between a fibre and the next voxel's;
        1/3 is chance. best: the choice of highest score. lead: standard errors by which it exceeds "none"; where
        "none" is best, 0. margin: standard errors by which "none" exceeds the next best, where it is best.
        prior_lead: the same as lead, of the test by the prior (`quality.frame`), NaN where it was not asked.
        undecidable: why nothing can be said; empty where something can. warning: for the user, where
        another choice is clearly better; else empty.
    """

    scores: dict[str, float]
    best: str = "none"
    lead: float = 0.0
    margin: float = 0.0
    prior_lead: float = float("nan")
    undecidable: str = ""
    warning: str = ""

    def as_dict(self) -> dict[str, object]:
        """For the provenance."""
        return {
            "Doubted": bool(self.warning),
            "BestNegated": self.best,
            "LeadInStandardErrors": round(self.lead, 1),
            "PriorLeadInStandardErrors": round(self.prior_lead, 1) if np.isfinite(self.prior_lead) else None,
            "Scores": {name: round(score, 4) for name, score in self.scores.items()},
            "Undecidable": self.undecidable,
        }


def check_convention(tensor: ArrayLike, fa: ArrayLike, mask: ArrayLike, acquisition: "Acquisition") -> Convention:
    """Ask whether fibres continue better with other signs of the gradient directions.

    Each fibre is followed to the voxel that it points at, both ways, and scores the cos² between itself and that
    voxel's principal direction times the FA² of both. With other signs it points elsewhere.

    Args:
        tensor: (X, Y, Z, 6) in the order xx yy zz xy xz yz along the image axes, any unit.
        fa: (X, Y, Z) fractional anisotropy.
        mask: (X, Y, Z) brain.
        acquisition: the scan that the tensors were fitted to.
    """
    FA = np.where(mask, np.nan_to_num(np.asarray(fa, np.float32)), np.float32(0))
    FA[FA <= TRACT_FA] = 0
    if min(FA.shape) < LEAST_SLICES:
        return Convention({}, undecidable=f"fewer than {LEAST_SLICES} slices")
    table = acquisition.gradients
    if np.linalg.matrix_rank(quadratic_form(table.bvecs[~table.is_b0]), tol=1e-3) < 6:
        return Convention({}, undecidable="fewer than six directions")
    tracts = np.argwhere(FA > 0)
    if len(tracts) < LEAST_TRACT_VOXELS:
        return Convention({}, undecidable="too little white matter")
    V1 = np.zeros((*FA.shape, 3), np.float32)
    V1[FA > 0] = _principal(np.asarray(tensor)[FA > 0])
    tracts = tracts[:: -(-len(tracts) // MOST_TRACT_VOXELS)]
    blocks = np.unique(tracts // BLOCK, axis=0, return_inverse=True)[1].ravel()
    # a border of zeros: what leaves the image has no weight
    FA, V1, tracts = np.pad(FA, 1), np.pad(V1, [(1, 1)] * 3 + [(0, 0)]), tracts + 1
    fibre = V1[tuple(tracts.T)] / acquisition.voxel_size
    tiny = np.finfo(float).tiny  # a tensor of zeros has no fibre, and no weight
    step = np.rint(fibre / np.maximum(np.abs(fibre).max(1, keepdims=True), tiny)).astype(np.intp)
    fibre = step * acquisition.voxel_size
    fibre /= np.maximum(np.linalg.norm(fibre, axis=1, keepdims=True), tiny)
    FA_squared = FA[tuple(tracts.T)] ** 2
    continued = {}
    for name, signs in SIGNS.items():
        continued[name] = np.zeros(len(tracts))
        for way in (1, -1):
            # fibre and neighbour are mirrored together, so only the neighbour's place depends on the signs
            ahead = tuple((tracts + way * step * np.array(signs)).T)
            cosine = np.einsum("vi,vi->v", fibre, V1[ahead])
            continued[name] += FA_squared * FA[ahead] ** 2 * cosine**2 / 2
    scores = {name: float(gain.sum() / np.sum(FA_squared**2)) for name, gain in continued.items()}
    best = max(scores, key=scores.__getitem__)
    leads = {name: _lead(continued[name] - continued["none"], blocks) for name in SIGNS if name != "none"}
    lead = leads.get(best, 0.0)
    margin = -max(leads.values()) if best == "none" else 0.0
    warning = texts.SIGNS_DOUBTFUL.format(best=best) if lead > CLEARLY else ""
    return Convention(scores, best, lead, margin, warning=warning)


def _lead(gain: Float, blocks: NDArray[np.intp]) -> float:
    """Sum of a gain (V,) in standard errors between blocks."""
    sums = np.bincount(blocks, gain)
    error = float(np.sqrt(len(sums)) * np.std(sums))
    return float(sums.sum()) / error if error > 0 else 0.0


def _principal(tensor: Float) -> Float:
    """(V, 3) principal directions of positive semi-definite tensors (V, 6), by the power D³².

    D³² is nearly λ³² v vᵀ. Squaring element by element takes a tenth of the time of `eigh` on small matrices.
    """
    xx, yy, zz, xy, xz, yz = np.ascontiguousarray(np.asarray(tensor, np.float32).T)
    for _ in range(5):
        scale = 1 / np.maximum(xx + yy + zz, np.finfo(np.float32).tiny)
        xx, yy, zz, xy, xz, yz = (element * scale for element in (xx, yy, zz, xy, xz, yz))
        xx, yy, zz, xy, xz, yz = (
            xx * xx + xy * xy + xz * xz,
            xy * xy + yy * yy + yz * yz,
            xz * xz + yz * yz + zz * zz,
            xx * xy + xy * yy + xz * yz,
            xx * xz + xy * yz + xz * zz,
            xy * xz + yy * yz + yz * zz,
        )
    columns = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    longest = np.argmax([xx, yy, zz], axis=0)
    v = columns[longest, :, np.arange(len(xx))]
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float32).tiny), float)

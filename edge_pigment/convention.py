"""Whether the gradient directions are along the axes that the file says, by the continuity of fibres.

Files break the frame rule often enough, and tensors then look right but for their direction. Where that happened,
fibres do not continue into the voxels that they point at (Schilling et al. 2019, Magn. Reson. Imaging 58:82; Jeurissen
et al. 2014, Med. Image Anal. 18:953). `check_convention` measures this for each choice of signs and for each exchange
of axes. Either mirrors or turns the tensors and nothing else, so no fit is repeated.

Exchanged axes are believed less than signs, for there are 20 of them, and artefacts may run along an axis. So fibres
alone never say which axes are exchanged (see `quality.frame`), but where an exchange seems better than a sign, no sign
is advised.
"""

from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.gradients import fsl_signs
from edge_pigment.physics.tensor import quadratic_form

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition

Float = NDArray[np.float64]

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

SIGNS = {"none": (1, 1, 1), "x": (-1, 1, 1), "y": (1, -1, 1), "z": (1, 1, -1)}
"""The sign choices by what they negate. Two negations are, for tensors, the negation of the third."""


class Axes(NamedTuple):
    """Other axes for directions g: component i is signs[i] g[order[i]]."""

    order: tuple[int, int, int]
    signs: tuple[int, int, int]

    def name(self, frame: Float) -> str:
        """For the user: "(y, -x, z)".

        Args:
            frame: (3,) signs between image axes and the frame of files, see `gradients.fsl_signs`.
        """
        signs = [frame[i] * s * frame[o] for i, (o, s) in enumerate(zip(*self, strict=True))]
        if sum(signs) < 0:  # a direction and its opposite are the same
            signs = [-s for s in signs]
        return "(" + ", ".join(("-" if s < 0 else "") + "xyz"[o] for o, s in zip(self.order, signs, strict=True)) + ")"


EXCHANGES = tuple(
    Axes((order[0], order[1], order[2]), signs)
    for order in permutations(range(3))
    if order != (0, 1, 2)
    for signs in SIGNS.values()
)
"""The other choices: for tensors, what is left of the 48 signed permutations."""


@dataclass(frozen=True)
class Convention:
    """How well fibres continue for each choice of signs of the gradient directions.

    Attributes:
        scores: what is negated ("none", "x", "y", "z") -> mean cos² between a fibre and the next voxel's;
        1/3 is chance. best: the choice of highest score. lead: standard errors by which it exceeds "none"; where
        "none" is best, 0. margin: standard errors by which "none" exceeds the next best, where it is best.
        prior_lead: the same as lead, of the test by the prior (`quality.frame`), NaN where it was not asked.
        exchange: the best exchange of axes, exchange_name: the same in the frame of .bvec files, exchange_lead:
        standard errors by which it exceeds "none".
        undecidable: why nothing can be said; empty where something can. warning: for the user, where
        another choice is clearly better; else empty.
    """

    scores: dict[str, float]
    best: str = "none"
    lead: float = 0.0
    margin: float = 0.0
    prior_lead: float = float("nan")
    exchange: Axes | None = None
    exchange_name: str = ""
    exchange_lead: float = 0.0
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
            "BestExchange": self.exchange_name,
            "ExchangeLeadInStandardErrors": round(self.exchange_lead, 1),
            "Undecidable": self.undecidable,
        }


def check_convention(tensor: ArrayLike, fa: ArrayLike, mask: ArrayLike, acquisition: "Acquisition") -> Convention:
    """Ask whether fibres continue better with other signs of the gradient directions, or other axes.

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
    own = V1[tuple(tracts.T)]
    squared = FA[tuple(tracts.T)] ** 2

    def continued(axes: Axes) -> Float:
        """(V,) cos² between each fibre and what lies ahead, weighted."""
        order, signs = list(axes.order), np.array(axes.signs)
        fibre = (own[:, order] * signs) / acquisition.voxel_size
        tiny = np.finfo(float).tiny  # a tensor of zeros has no fibre, and no weight
        step = np.rint(fibre / np.maximum(np.abs(fibre).max(1, keepdims=True), tiny)).astype(np.intp)
        fibre = step * acquisition.voxel_size
        fibre /= np.maximum(np.linalg.norm(fibre, axis=1, keepdims=True), tiny)
        gain = np.zeros(len(tracts))
        for way in (1, -1):
            ahead = tuple((tracts + way * step).T)
            cosine = np.einsum("vi,vi->v", fibre, V1[ahead][:, order] * signs)
            gain += squared * FA[ahead] ** 2 * cosine**2 / 2
        return gain

    gains = {name: continued(Axes((0, 1, 2), signs)) for name, signs in SIGNS.items()}
    scores = {name: float(gain.sum() / np.sum(squared**2)) for name, gain in gains.items()}
    best = max(scores, key=scores.__getitem__)
    leads = {name: _lead(gains[name] - gains["none"], blocks) for name in SIGNS if name != "none"}
    lead = leads.get(best, 0.0)
    margin = -max(leads.values()) if best == "none" else 0.0
    warning = texts.SIGNS_DOUBTFUL.format(best=best) if lead > CLEARLY else ""
    others = [continued(axes) for axes in EXCHANGES]
    k = int(np.argmax([gain.sum() for gain in others]))
    if warning and others[k].sum() > gains[best].sum():
        warning = texts.AXES_UNCLEAR
    exchange_lead = _lead(others[k] - gains["none"], blocks)
    name = EXCHANGES[k].name(fsl_signs(acquisition.affine))
    return Convention(
        scores,
        best,
        lead,
        margin,
        exchange=EXCHANGES[k],
        exchange_name=name,
        exchange_lead=exchange_lead,
        warning=warning,
    )


def doubted(convention: Convention) -> Convention:
    """The verdict on the frame of a scan whose volumes are out of order: no sign is advised."""
    return replace(convention, warning=texts.AXES_UNCLEAR) if convention.warning else convention


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

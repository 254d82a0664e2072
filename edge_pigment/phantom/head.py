"""The digital head: tissues, tracts and lesions put together as a subject for the simulator.

A simulated head, not an atlas: sizes and diffusivities are an adult's, rounded; shapes are drawn, folds are
random. Its truth is exact: every voxel's compartments are known. D in µm²/ms, S0 of white matter 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.phantom import anatomy
from edge_pigment.phantom.anatomy import TISSUES
from edge_pigment.phantom.shapes import Array, Axes, Point, ellipsoid, grid_waves, inside, unit
from edge_pigment.phantom.tracts import TRACTS, radiating
from edge_pigment.simulate.subject import Compartment, Subject

FIELD_OF_VIEW = (165.0, 205.0, 150.0)
"""mm; left-right, back-front, foot-head."""
CENTRE = (0.0, -4.0, 6.0)
"""mm, RAS, of the field of view."""


class Water(NamedTuple):
    """S0, and diffusivity along and across the tissue's axis."""

    S0: float
    along: float
    across: float


# Set by hand so that FA, MD and S0, averaged to 2.5 x 2.5 x 5 mm, spread about as those of one 3 T scan
# (validation/sub-hcplike; FA where above 0.2, 5th to 99th percentile: 0.21-0.76 there, 0.21-0.73 here), but
# for CSF, of which there is more here.
# So this head is no independent sample of that scan. S0 is a guess for other echo times and fields.
WATER: Mapping[str, Water] = MappingProxyType(
    {
        "scalp": Water(0.30, 0.6, 0.6),
        "skull": Water(0.03, 0.5, 0.5),
        "csf": Water(2.60, 3.0, 3.0),
        "cortex": Water(1.30, 0.96, 0.77),
        "deep grey": Water(1.05, 0.92, 0.68),
        "tract": Water(1.00, 1.62, 0.36),
        "radiating": Water(1.00, 1.12, 0.58),
    }
)


PURITY = 0.88
"""Share of a voxel that a tract takes at most where it is alone; other fibres pass through every bundle."""


class Lesion(NamedTuple):
    """A ball: centre and radius (mm), its water, and what it is like."""

    name: str
    centre: Point
    radius: float
    water: Water
    like: str


LESIONS = (
    Lesion("raised MD", (-27.0, -8.0, 31.0), 6.0, Water(1.50, 1.50, 1.20), "demyelination or oedema, 12 mm"),
    Lesion("lowered MD", (32.0, 18.0, 28.0), 5.0, Water(1.10, 0.62, 0.38), "acute ischaemic stroke, 10 mm"),
)


@dataclass(frozen=True, eq=False)
class Phantom:
    """The head and what is known of it.

    subject: compartments for `simulate_scan`; image axes are RAS, det(affine) > 0.
    fractions: (X, Y, Z, 6), by volume, in the order of `anatomy.TISSUES`, lesions not taken out.
    lesions: name -> volume fraction (X, Y, Z).
    """

    subject: Subject
    fractions: Array
    lesions: Mapping[str, Array]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z): 0 air, else 1 + index of the tissue that has most of the voxel."""
        return label(self.fractions)


def label(fractions: Array) -> NDArray[np.uint8]:
    """Tissue fractions (..., 6) -> labels: 0 where no tissue has half of the voxel's due, else 1 + index."""
    labels: NDArray[np.uint8] = np.where(fractions.sum(-1) > 0.5, 1 + fractions.argmax(-1).astype(np.uint8), 0).astype(
        np.uint8
    )
    return labels


def axisymmetric(direction: Array, along: Array, across: Array) -> Array:
    """Tensors (V, 6), xx yy zz xy xz yz: across I + (along - across) v vᵀ, of unit directions v (V, 3)."""
    x, y, z = direction.T
    tensors = np.stack([x * x, y * y, z * z, x * y, x * z, y * z], axis=-1) * (along - across)[:, None]
    tensors[:, :3] += across[:, None]
    return tensors


class _Head(NamedTuple):
    """The V voxels in a row: points, tissue fractions, cortical normals, textures, what no lesion took."""

    p: Array
    fractions: Array
    normal: Array
    texture: Array
    sway: Array
    healthy: Array

    def share(self, tissue: str) -> tuple[NDArray[np.intp], Array]:
        """Voxels that hold some healthy tissue of this name, and its volume fraction there."""
        share = self.fractions[:, TISSUES.index(tissue)] * self.healthy
        voxels = np.flatnonzero(share > 1e-3)
        return voxels, share[voxels]

    def radial(self, voxels: NDArray[np.intp]) -> Array:
        """Direction of radiating fibres, unit."""
        return self.mirror(radiating(self.fold(self.p, voxels), self.fold(self.normal, voxels)).direction, voxels)

    def fold(self, vectors: Array, voxels: NDArray[np.intp]) -> Array:
        """Vectors as in the right hemisphere, where tissues and tracts are drawn."""
        return self.mirror(vectors[voxels], voxels)

    def mirror(self, vectors: Array, voxels: NDArray[np.intp]) -> Array:
        """Flip x of vectors (K, 3) where the voxel lies in the left hemisphere."""
        mirrored = vectors.copy()
        mirrored[:, 0] *= np.where(self.p[voxels, 0] < 0, -1, 1)
        return mirrored


def make_phantom(voxel: float = 1.25, seed: int = 0) -> Phantom:
    """Build the head on an isotropic grid.

    Args:
        voxel: edge, mm. Shapes are analytic, so any size works; 1.25 to 1.5 is fine enough to be averaged to
            the voxels of a scan.
        seed: of the cortical folds and of the textures.
    """
    rng = np.random.default_rng(seed)
    axes, affine = _grid(voxel)
    shape = (len(axes[0]), len(axes[1]), len(axes[2]))
    p = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    tissues, normal = anatomy.build(p, axes, rng)
    lesions = {item.name: inside(ellipsoid(p, item.centre, (item.radius,) * 3), voxel) for item in LESIONS}
    head = _Head(
        p.reshape(-1, 3),
        tissues.reshape(-1, len(TISSUES)),
        normal.reshape(-1, 3),
        texture=np.stack([grid_waves(axes, length, 8, rng).ravel() for length in (45, 30)], axis=-1),
        sway=np.stack([grid_waves(axes, 28, 10, rng).ravel() for _ in range(3)], axis=-1),
        healthy=1 - np.clip(np.sum(list(lesions.values()), axis=0).ravel(), 0, 1),
    )
    compartments = _isotropic(head) + _grey(head) + _white(head) + _lesions(head, lesions)
    brain = tissues[..., anatomy.CSF :].sum(-1)
    return Phantom(Subject(shape, affine, tuple(compartments), brain), tissues, MappingProxyType(lesions))


def _grid(voxel: float) -> tuple[Axes, NDArray[np.float64]]:
    counts = [round(extent / voxel) for extent in FIELD_OF_VIEW]
    starts = [centre - voxel * (n - 1) / 2 for centre, n in zip(CENTRE, counts, strict=True)]
    x, y, z = ((s + voxel * np.arange(n)).astype(np.float32) for s, n in zip(starts, counts, strict=True))
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = starts
    return (x, y, z), affine


def _isotropic(head: _Head) -> list[Compartment]:
    parts = []
    for name in ("scalp", "skull", "csf"):
        voxels, share = head.share(name)
        D = np.array([[WATER[name].along] * 3 + [0] * 3], np.float32)
        parts.append(Compartment(voxels, share * WATER[name].S0, D))
    return parts


def _grey(head: _Head) -> list[Compartment]:
    """Cortex, weakly anisotropic along its normal (McNab et al. 2013, NeuroImage 69:87), and deep nuclei."""
    parts = []
    for name in ("cortex", "deep grey"):
        voxels, share = head.share(name)
        axis = head.normal[voxels] if name == "cortex" else head.radial(voxels)
        axis = unit(axis + 0.2 * head.sway[voxels])
        water, vary = WATER[name], np.exp(0.05 * head.texture[voxels, 0])
        S0 = water.S0 * np.exp(0.04 * head.texture[voxels, 1])
        parts.append(Compartment(voxels, share * S0, axisymmetric(axis, water.along * vary, water.across * vary)))
    return parts


def _white(head: _Head) -> list[Compartment]:
    """One compartment per tract; tracts that meet share the voxel, what they leave radiates into the gyri."""
    white, share = head.share("white matter")
    q = head.fold(head.p, white)
    bundles = {name: tract(q) for name, tract in TRACTS.items()}
    bundles = {name: b._replace(share=PURITY * b.share) for name, b in bundles.items()}
    total = np.sum([bundle.share for bundle in bundles.values()], axis=0)
    rest = radiating(q, head.fold(head.normal, white))
    bundles["radiating"] = rest._replace(share=np.clip(1 - total, 0, 1))
    crowd = np.maximum(total, 1)
    parts = []
    for name, bundle in bundles.items():
        taken = bundle.share / crowd
        here = np.flatnonzero(taken > 1e-2)
        voxels = white[here]
        loose, water = (0.25, WATER["radiating"]) if name == "radiating" else (0.12, WATER["tract"])
        axis = unit(head.mirror(bundle.direction[here], voxels) + loose * head.sway[voxels])
        slow, quick = head.texture[voxels].T
        D = axisymmetric(axis, water.along * np.exp(0.05 * slow), water.across * np.exp(0.18 * quick))
        parts.append(Compartment(voxels, share[here] * taken[here] * (water.S0 * np.exp(0.05 * quick)), D))
    return parts


def _lesions(head: _Head, lesions: Mapping[str, Array]) -> list[Compartment]:
    parts = []
    for item in LESIONS:
        share = lesions[item.name].ravel()
        voxels = np.flatnonzero(share > 1e-3)
        flat = np.ones(len(voxels), np.float32)
        D = axisymmetric(head.radial(voxels), item.water.along * flat, item.water.across * flat)
        parts.append(Compartment(voxels, share[voxels] * item.water.S0, D))
    return parts

"""Slices of an image as a radiologist looks at them: upright, the patient's left on the right.

The image axes are permuted and flipped to the nearest anatomical ones (right, anterior, superior); nothing is
resampled, so a tilted slice is shown as it was acquired, and its tilt is said. A tilted slice has another z at each of
its points; the position stated is the one where it passes the brain's centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

_orientations: Any = orientations  # nibabel annotates only some of its functions
_PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
_EDGES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
_ORDER = ("axial", "coronal", "sagittal")
_AXIS_NAME = "xyz"
_LEAST_VOXELS, _LEAST_SHARE = 8, 0.2
"""A plane with fewer voxels across, or as a stripe that is narrower than this share of its length, shows nothing."""
_TILTED = 2.0
"""Degrees between a slice's normal and the scanner's axis, from which the tilt is said."""
_MARGIN = 2
"""Voxels left around the brain."""


@dataclass(frozen=True)
class View:
    """One slice.

    Attributes:
        plane: axial, coronal or sagittal.
        index: of the slice in the reoriented image.
        name: plane and tilt, such as "axial, tilted 12°".
        position: such as "z = 34 mm".
        size: (width, height) of the picture in mm.
        edges: what the left and the right edge of the picture show, such as ("R", "L").
    """

    plane: str
    index: int
    name: str
    position: str
    size: tuple[float, float]
    edges: tuple[str, str]

    @property
    def caption(self) -> str:
        """Name and position."""
        return f"{self.name}  {self.position}"


class Viewer:
    """Cuts slices out of images of one grid.

    Args:
        mask: (X, Y, Z); the views cover its extent.
        affine: (4, 4) voxel indices -> scanner mm.
    """

    def __init__(self, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> None:
        self._orientation = _orientations.io_orientation(affine)
        upright = self._upright(mask)
        to_upright = _orientations.inv_ornt_aff(self._orientation, mask.shape)
        self.affine: NDArray[np.float64] = affine @ to_upright
        self.voxel_size: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        self._mass = [upright.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        self._box = tuple(_extent(mass) for mass in self._mass)
        self._centre = [float(np.average(np.arange(len(m)), weights=m if m.any() else None)) for m in self._mass]

    def views(self, slices: int = 5) -> list[View]:
        """Slices spread over the brain in the main plane, and one through the middle in each of the others.

        The main plane is the axial one, unless the scan is a few sagittal or coronal slices. Planes in which
        the scan is only a few voxels wide are left out.
        """
        main, *others = self.planes
        indices = dict.fromkeys(self._quantile(main, (i + 0.5) / slices) for i in range(slices))
        return [self._view(main, i) for i in indices] + [self._view(p, self._quantile(p, 0.5)) for p in others]

    @property
    def planes(self) -> list[str]:
        """Those in which the scan shows something, the main one first."""
        shown = [plane for plane in _ORDER if self._is_worth(plane)]
        return shown or [min(_ORDER, key=lambda plane: self._box_shape[_PLANES[plane]])]

    def tilt(self, plane: str) -> float:
        """Degrees between the slices' normal and the scanner's axis."""
        a, b = (self.affine[:3, axis] for axis in range(3) if axis != _PLANES[plane])
        normal = np.cross(a, b)
        cosine = abs(normal[_PLANES[plane]]) / max(float(np.linalg.norm(normal)), 1e-30)
        return float(np.degrees(np.arccos(min(cosine, 1.0))))

    @property
    def is_tilted(self) -> bool:
        """Whether any plane that is shown is."""
        return any(self.tilt(plane) >= _TILTED for plane in self.planes)

    def name(self, plane: str) -> str:
        """The plane, and its tilt where it has one."""
        tilt = self.tilt(plane)
        return f"{plane}, tilted {tilt:.0f}°" if tilt >= _TILTED else plane

    def position(self, plane: str, index: int) -> str:
        """Where a slice of the reoriented image passes the brain's centre, such as "z = 34 mm"."""
        axis = _PLANES[plane]
        centre = [index if a == axis else self._centre[a] for a in range(3)]
        mm = float((self.affine @ np.array([*centre, 1.0]))[axis])
        digits = max(int(np.ceil(-np.log10(max(float(self.voxel_size[axis]), 1e-3)))), 0)
        return f"{_AXIS_NAME[axis]} = {round(mm, digits) + 0.0:.{digits}f} mm"  # no -0

    def positions(self, plane: str, step: int = 1) -> list[str]:
        """Those of every slice in the brain's box, or of every so manieth."""
        box = self._box[_PLANES[plane]]
        return [self.position(plane, index) for index in range(box.start, box.stop, step)]

    def first(self, plane: str) -> int:
        """Index in the reoriented image of the first slice of `block` and `positions`."""
        return int(self._box[_PLANES[plane]].start)

    def nearest(self, mm: Sequence[float]) -> tuple[int, int, int]:
        """Indices in `block` of the voxel nearest to a point in scanner mm."""
        at = np.linalg.solve(self.affine[:3, :3], np.asarray(mm, float) - self.affine[:3, 3])
        last = [n - 1 for n in self._box_shape]
        x, y, z = (int(np.clip(round(v - b.start), 0, n)) for v, b, n in zip(at, self._box, last, strict=True))
        return x, y, z

    def cut(self, data: NDArray[np.generic], view: View) -> NDArray[np.generic]:
        """The slice of an image (X, Y, Z) or (X, Y, Z, K): (rows, columns) or (rows, columns, K)."""
        axis = _PLANES[view.plane]
        upright = self._upright(data)
        window = tuple(view.index if a == axis else self._box[a] for a in range(3))
        # right and anterior grow to the left of the picture, superior and anterior upwards
        return np.swapaxes(upright[window], 0, 1)[::-1, ::-1]

    def block(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        """The brain's box of an image, its axes from left to right, back to front, foot to head: (X, Y, Z[, K])."""
        return self._upright(data)[self._box]

    def _upright(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        turned: NDArray[np.generic] = _orientations.apply_orientation(data, self._orientation)
        return turned

    def _is_worth(self, plane: str) -> bool:
        across = [a for a in range(3) if a != _PLANES[plane]]
        sides = [self._box_shape[a] * float(self.voxel_size[a]) for a in across]
        return min(self._box_shape[a] for a in across) >= _LEAST_VOXELS and min(sides) >= _LEAST_SHARE * max(sides)

    @property
    def _box_shape(self) -> list[int]:
        return [b.stop - b.start for b in self._box]

    def _quantile(self, plane: str, share: float) -> int:
        """The slice below which this share of the brain lies."""
        mass = np.cumsum(self._mass[_PLANES[plane]].astype(float))
        return min(int(np.searchsorted(mass, share * mass[-1])), len(mass) - 1)

    def _view(self, plane: str, index: int) -> View:
        axis = _PLANES[plane]
        across = [a for a in range(3) if a != axis]
        width, height = (self._box_shape[a] * float(self.voxel_size[a]) for a in across)
        return View(plane, index, self.name(plane), self.position(plane, index), (width, height), _EDGES[plane])


def _extent(mass: NDArray[np.generic]) -> slice:
    """Where there is brain along an axis, with a margin."""
    inside = np.flatnonzero(mass)
    if not len(inside):
        return slice(0, len(mass))
    return slice(max(int(inside[0]) - _MARGIN, 0), min(int(inside[-1]) + 1 + _MARGIN, len(mass)))

"""Slices of an image as a radiologist looks at them: upright, the patient's left on the right.

The image axes are permuted and flipped to the nearest anatomical ones (right, anterior, superior); nothing is
resampled, so a tilted slice is shown as it was acquired.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

_orientations: Any = orientations  # nibabel annotates only some of its functions
_PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
_EDGES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
_AXIS_NAME = "xyz"
_LEAST_VOXELS = 8
"""A plane with fewer voxels across shows nothing."""
_MARGIN = 2
"""Voxels left around the brain."""


@dataclass(frozen=True)
class View:
    """One slice.

    Attributes:
        plane: axial, coronal or sagittal.
        index: of the slice in the reoriented image.
        caption: plane and position, such as "axial z = 34 mm".
        size: (width, height) of the picture in mm.
        edges: what the left and the right edge of the picture show, such as ("R", "L").
    """

    plane: str
    index: int
    caption: str
    size: tuple[float, float]
    edges: tuple[str, str]


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
        shown = [plane for plane in ("axial", "coronal", "sagittal") if self._is_worth(plane)]
        main, *others = shown or ["axial"]
        indices = dict.fromkeys(self._quantile(main, (i + 0.5) / slices) for i in range(slices))
        return [self._view(main, i) for i in indices] + [self._view(p, self._quantile(p, 0.5)) for p in others]

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

    @property
    def origin(self) -> NDArray[np.float64]:
        """(3,) mm, centre of the first voxel of `block`."""
        first = np.array([*(float(b.start) for b in self._box), 1.0])
        corner: NDArray[np.float64] = (self.affine @ first)[:3]
        return corner

    def _upright(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        turned: NDArray[np.generic] = _orientations.apply_orientation(data, self._orientation)
        return turned

    def _is_worth(self, plane: str) -> bool:
        box = [self._box[a] for a in range(3) if a != _PLANES[plane]]
        return all(b.stop - b.start >= _LEAST_VOXELS for b in box)

    def _quantile(self, plane: str, share: float) -> int:
        """The slice below which this share of the brain lies."""
        mass = np.cumsum(self._mass[_PLANES[plane]].astype(float))
        return min(int(np.searchsorted(mass, share * mass[-1])), len(mass) - 1)

    def _view(self, plane: str, index: int) -> View:
        axis = _PLANES[plane]
        across = [a for a in range(3) if a != axis]
        width, height = ((self._box[a].stop - self._box[a].start) * float(self.voxel_size[a]) for a in across)
        centre = [index if a == axis else self._centre[a] for a in range(3)]
        position = float((self.affine @ np.array([*centre, 1.0]))[axis])
        caption = f"{plane}  {_AXIS_NAME[axis]} = {position:.0f} mm"
        return View(plane, index, caption, (width, height), _EDGES[plane])


def _extent(mass: NDArray[np.generic]) -> slice:
    """Where there is brain along an axis, with a margin."""
    inside = np.flatnonzero(mass)
    if not len(inside):
        return slice(0, len(mass))
    return slice(max(int(inside[0]) - _MARGIN, 0), min(int(inside[-1]) + 1 + _MARGIN, len(mass)))

"""Whether mean diffusivity is what healthy heads have at such a place, seen from further away than novelty looks.

Whether neighbours predict a voxel does not tell a lesion's inside: the neighbours are ill as well. This test compares
the voxel, and the means of boxes about it, with boxes up to 3 cm away. A perceptron of two hidden layers turns that,
and what the prior had not foretold (`innovation`), into the log odds of altered tissue. It has learned them from
healthy heads with simulated changes of MD (`edge_pigment_prior.alterations`), so it is a test for such changes and for
nothing else; its scale is that of healthy heads which it had not learned from.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment.boxes import bounding_box, box_sums
from edge_pigment.innovation import Innovation
from edge_pigment.physics.backend import Array

BOXES = ((3.0, 3.0), (8.0, 6.0), (16.0, 10.0), (32.0, 16.0))
"""Half-widths in mm, in plane and across slices: anatomy has a scale, voxels have many."""
MD_RANGE = (0.1, 5.0)
"""Of the median; beyond is noise."""
FLUID = (1.5, 2.2)
"""MD over the median: partial volume, and fluid."""
TISSUE_MD = (1e-4, 1.3e-3)
"""mm²/s; what the median is taken of."""
LOUDEST = 8.0
"""sd of innovations; more say no more."""
FEATURES = 6 + 2 * 3 + 7 * len(BOXES)
"""See `features`."""
LEAST = 20
"""Voxels of tissue without which there is no median to compare with."""


@dataclass(frozen=True, eq=False)
class Alteration:
    """The perceptron: features are centred by mean (K,) and scaled by sd (K,); weights (in, out) and biases (out,) of
    its layers; log odds, ascending, and the normal scores that they have in healthy heads."""

    mean: Array
    sd: Array
    layers: tuple[tuple[Array, Array], ...]
    log_odds: Array
    normal: Array

    @classmethod
    def read(cls, path: Path) -> "Alteration":
        """Read what `write` wrote."""
        told = json.loads(path.read_text("utf-8"))
        arrays = {key: np.array(told[key], np.float32) for key in ("mean", "sd", "log_odds", "normal")}
        layers = ((np.array(w, np.float32), np.array(b, np.float32)) for w, b in told["layers"])
        return cls(layers=tuple(layers), **arrays)

    def write(self, path: Path) -> None:
        """Write JSON, with six digits."""
        told = {key: _digits(getattr(self, key)) for key in ("mean", "sd", "log_odds", "normal")}
        path.write_text(json.dumps(told | {"layers": [[_digits(w), _digits(b)] for w, b in self.layers]}) + "\n")

    def score(
        self,
        fa: Array,
        md: Array,
        md_sd: Array,
        found: Innovation,
        mask: NDArray[np.bool_],
        voxel_size: NDArray[Any],
    ) -> Array:
        """How unlike healthy tissue: about N(0, 1) in healthy heads, 0 where there is too little tissue to compare.

        Args:
            fa: (V,) in the C order of mask.
            md: (V,) mm²/s.
            md_sd: (V,) mm²/s.
            found: of the same voxels.
            mask: (Z, Y, X).
            voxel_size: (3,) mm, along x, y and z.

        Returns:
            (V,).
        """
        seen = features(fa, md, md_sd, found, mask, voxel_size)
        if seen is None:
            return np.zeros(len(md), np.float32)
        return np.interp(self.odds(seen), self.log_odds, self.normal).astype(np.float32)

    def odds(self, seen: Array) -> Array:
        """(V, K) features -> (V,) log odds of altered tissue."""
        x = (seen - self.mean) / self.sd
        for weights, bias in self.layers[:-1]:
            x = x @ weights + bias
            x = np.maximum(x, 0, out=x)
        weights, bias = self.layers[-1]
        return np.asarray((x @ weights + bias)[:, 0])


def half_widths(voxel_size: NDArray[Any]) -> list[tuple[int, int, int]]:
    """BOXES in voxels, along z, y and x: in plane each wider than the one before, across slices at least one."""
    x, y, z = voxel_size
    found = [(0, 0, 0)]
    for mm, across in BOXES:
        in_plane = (max(round(mm / size), before + 1) for size, before in zip((y, x), found[-1][1:], strict=True))
        found.append((max(round(across / z), 1), *in_plane))
    return found[1:]


def features(
    fa: Array, md: Array, md_sd: Array, found: Innovation, mask: NDArray[np.bool_], voxel_size: NDArray[Any]
) -> Array | None:
    """What is compared; arguments as of `Alteration.score`.

    Returns:
        (V, FEATURES): log MD over the brain's median, its relative sd, FA; the innovations of the voxel, of the best
        square and of the best ball about it; mean log MD, mean FA and part of brain in
        the two smallest boxes; and of each ring between two boxes mean and sd of log MD, mean and sd of FA, parts of
        what is partly and mostly fluid, and the part that is brain. None for less than `LEAST` voxels of tissue.
    """
    tissue = md[(md > TISSUE_MD[0]) & (md < TISSUE_MD[1])]
    if tissue.size < LEAST:
        return None
    relative = np.clip(md / np.median(tissue), *MD_RANGE)
    x, f = np.log(relative), np.asarray(fa, np.float32)
    box = bounding_box(mask)
    brain = mask[box]
    values = (np.ones_like(x), x, x * x, f, f * f, relative > FLUID[0], relative > FLUID[1])
    inner = np.stack(values).astype(np.float32)
    image = np.zeros((len(inner), *brain.shape), np.float32)
    image[:, brain] = inner
    columns = [x, np.clip(md_sd / np.maximum(md, TISSUE_MD[0]), 0, 1), f]
    columns += [np.clip(each, -LOUDEST, LOUDEST) for each in (found.own, found.box, found.ball)]
    size = 1
    for index, half in enumerate(half_widths(voxel_size)):
        outer = box_sums(image, half)[:, brain]
        outer_size = int(np.prod([2 * h + 1 for h in half]))
        if index < 2:
            columns += [outer[1] / outer[0], outer[3] / outer[0], outer[0] / outer_size]
        ring, count = outer - inner, outer[0] - inner[0]
        mean = ring[1:] / np.maximum(count, 1)
        spread = [np.sqrt(np.maximum(mean[i + 1] - mean[i] ** 2, 0)) for i in (0, 2)]
        columns += [mean[0], spread[0], mean[2], spread[1], mean[4], mean[5], count / (outer_size - size)]
        inner, size = outer, outer_size
    return np.stack(columns, axis=1).astype(np.float32)


def _digits(a: Array) -> Any:
    return np.vectorize(lambda number: float(f"{number:.6g}"), otypes=[float])(a).tolist()

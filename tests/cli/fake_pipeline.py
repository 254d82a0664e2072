"""A pipeline without a prior: the command line does not care what the numbers are."""

import numpy as np

from edge_pigment.outputs.bids import MAPS
from edge_pigment.pipeline import Result

STEPS = (("mask", 0.0), ("context prior", 0.3), ("maps", 0.9))


def run(acquisition, options=None, progress=None, tools=None):
    """Maps of noise, as `pipeline.run` would return them."""
    for step, fraction in STEPS if progress else ():
        progress(step, fraction)
    shape = acquisition.signal.shape[:3]
    widths = {"tensor": (6,), "V1": (3,)}
    maps = {name: np.full((*shape, *widths.get(name, ())), 0.5, np.float32) for name in MAPS}
    provenance = {
        "Noise": {"Sigma": options.sigma or 12.5, "SNRb0": 20.0},
        "Device": {"Kernels": "fake"},
        "Seconds": {"total": 0.1},
    }
    warnings = ("The weather is fine.", *acquisition.warnings)
    return Result(maps, np.ones(shape, bool), acquisition.affine, acquisition.header, provenance, warnings)

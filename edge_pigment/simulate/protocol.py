"""What the operator sets, what the receiver adds, what goes wrong: the three inputs of a simulated scan."""

from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from edge_pigment.simulate.directions import SCHEMES, orthogonal

Float = NDArray[np.float64]
Positive3 = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Share = Annotated[float, Field(ge=0, le=1)]
Edge = Annotated[float, Field(ge=0.1, le=1000)]
"""mm of a voxel: finer ones of a head fill no memory that there is, larger ones hold it whole."""

SCHEME_NAMES = (*SCHEMES, "trace")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shell(_Settings):
    """Directions at one b-value."""

    b: Annotated[float, Field(gt=0, le=1e6)]
    """s/mm²; beyond the limit nothing is left of any signal."""
    directions: Annotated[int, Field(gt=0, le=2000)] = 6
    scheme: str = "electrostatic"
    """One of SCHEME_NAMES; 'trace' gives one image, the geometric mean of three orthogonal directions."""

    @model_validator(mode="after")
    def _known(self) -> "Shell":
        if self.scheme not in SCHEME_NAMES:
            raise ValueError(f"scheme {self.scheme!r} is none of {', '.join(SCHEME_NAMES)}")
        counts = {"trace": 1, "orthogonal": 3, "tetrahedral": 4, "dual": 6}
        if self.directions != counts.get(self.scheme, self.directions):
            raise ValueError(f"the {self.scheme} scheme has {counts[self.scheme]} images, not {self.directions}")
        return self


class Readout(_Settings):
    """How k-space decays while it is read along the phase-encoding axis, which blurs the image."""

    kind: Literal["none", "epi", "fse"] = "none"
    duration: PositiveFloat = 40.0
    """ms from the first to the last line of k-space (epi), or of the echo train (fse, centre out)."""
    decay: PositiveFloat = 70.0
    """ms; T2* for epi, T2 for fse."""
    axis: Literal[0, 1] = 1
    """Image axis of the phase encoding."""


class Protocol(_Settings):
    """What the operator sets; voxel in mm, slices along the third image axis."""

    voxel: tuple[Edge, Edge, Edge] = (2.5, 2.5, 5.0)
    shells: tuple[Shell, ...] = (Shell(b=1000.0),)
    b0: Annotated[int, Field(ge=0, le=2000)] = 1
    """Number of b=0 volumes; they come first."""
    readout: Readout = Readout()
    zero_fill: Annotated[int, Field(ge=1, le=4)] = 1
    """Interpolation in plane by zero filling k-space; consoles of low-field scanners use 2."""

    @model_validator(mode="after")
    def _not_empty(self) -> "Protocol":
        if not self.shells and not self.b0:
            raise ValueError("a protocol needs at least one volume")
        return self


class Noise(_Settings):
    """What the receiver adds: complex Gaussian noise in every coil, of which the magnitude is taken."""

    snr: Annotated[float, Field(ge=1e-3, allow_inf_nan=True)] = 10.0
    """Median of the noise-free b=0 in the brain over the mean σ there; inf: no noise."""
    coils: PositiveInt = 1
    """Receivers combined by the root of the sum of squares: 1 gives Rician, more non-central χ noise."""
    variation: Share = 0.0
    """Relative variation of σ over the head, smooth, as parallel imaging makes it."""


class Faults(_Settings):
    """What goes wrong; nothing by default."""

    gradient_scale: Positive3 = (1.0, 1.0, 1.0)
    """True over nominal gradient strength per image axis; b follows its square."""
    bias: Annotated[float, Field(ge=0)] = 0.0
    """SD of a smooth log-intensity field common to all volumes (coil sensitivity)."""
    direction_bias: Annotated[float, Field(ge=0)] = 0.0
    """SD of a smooth log-intensity field drawn anew for each diffusion-weighted volume (eddy currents)."""
    motion: Annotated[float, Field(ge=0)] = 0.0
    """SD of each volume's shift along each axis, mm; the first volume is the reference."""
    rotation: Annotated[float, Field(ge=0)] = 0.0
    """SD of each volume's rotation about each axis, degrees; the head turns, the gradients do not."""
    outliers: Share = 0.0
    """Probability that a slice of a diffusion-weighted volume loses 40 to 100 % of its signal."""


class Measurement(NamedTuple):
    """One volume: nominal b (s/mm²), direction that the table states (3,), directions applied (k, 3)."""

    b: float
    stated: Float
    applied: Float


def measurements(protocol: Protocol, rng: np.random.Generator) -> list[Measurement]:
    """The protocol's volumes in order; a trace image states no direction (zeros) and applies three."""
    zero = np.zeros(3)
    volumes = [Measurement(0.0, zero, zero[None]) for _ in range(protocol.b0)]
    for shell in protocol.shells:
        if shell.scheme == "trace":
            volumes.append(Measurement(shell.b, zero, orthogonal()))
        else:
            scheme = SCHEMES[shell.scheme](shell.directions, rng)
            volumes += [Measurement(shell.b, g, g[None]) for g in scheme]
    return volumes

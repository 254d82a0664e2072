"""A simulated scan: the chain from a subject of known truth to noisy magnitudes, in the order of a real one.

For every volume: the gradients really applied, the head where it is then, its signal, averaged to voxels,
blurred by the readout's decay, shaded by coils and eddy currents, slices lost, interpolated, noise,
magnitude.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.simulate import noise as receiver
from edge_pigment.simulate import sampling
from edge_pigment.simulate.directions import electrostatic
from edge_pigment.simulate.protocol import Faults, Measurement, Noise, Protocol, measurements
from edge_pigment.simulate.subject import Subject
from edge_pigment.wls import wls

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

TRUTH_DIRECTIONS = 30


class Grid(NamedTuple):
    """The scan's voxels: averaging matrices from the subject's grid, shape, affine (4, 4)."""

    matrices: tuple[Image, Image, Image]
    shape: tuple[int, int, int]
    affine: Float


@dataclass(frozen=True, eq=False)
class Truth:
    """What a noise-free scan of the same voxels, without faults, would show; image axes.

    The tensor is the weighted least-squares fit to 30 noise-free directions at one b: a voxel of crossing
    fibres or of partial volume has no other tensor, and its tensor depends on b.

    S0 (X, Y, Z); D (X, Y, Z, 6) µm²/ms, xx yy zz xy xz yz; brain (X, Y, Z) volume fraction; b in s/mm²;
    FA and MD (X, Y, Z), MD in µm²/ms; V1 (X, Y, Z, 3).
    """

    S0: Image
    D: Image
    brain: Image
    b: float
    FA: Image = field(init=False)
    MD: Image = field(init=False)
    V1: Image = field(init=False)

    def __post_init__(self) -> None:
        values, vectors = np.linalg.eigh(to_matrix(self.D))
        maps = {
            "FA": fractional_anisotropy(np.maximum(values, 0)),
            "MD": values.mean(-1),
            "V1": vectors[..., 2],
        }
        for name, image in maps.items():
            object.__setattr__(self, name, image.astype(np.float32))


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """A scan and what is known about it.

    signal (X, Y, Z, N) float32; bvals (N,) nominal, s/mm²; bvecs (N, 3) along the image axes, zero for b=0
    and for trace images; affine (4, 4); sigma (X, Y, Z) noise sd per coil and component; lost (Z, N),
    slices that lost signal.
    """

    signal: Image
    bvals: Float
    bvecs: Float
    affine: Float
    sigma: Image
    truth: Truth
    lost: Mask
    protocol: Protocol
    noise: Noise
    faults: Faults
    seed: int
    grid: Grid

    def resample(self, image: Image) -> Image:
        """An image (X, Y, Z) on the subject's grid, averaged to the scan's voxels."""
        return sampling.apply(self.grid.matrices, np.asarray(image, np.float32))


def simulate_scan(
    subject: Subject,
    protocol: Protocol | None = None,
    noise: Noise | None = None,
    faults: Faults | None = None,
    seed: int = 0,
) -> SimulatedScan:
    """Scan a subject. The same seed gives the same scan.

    Args:
        subject: compartments on a grid; the finer than the protocol's voxels, the truer their partial volume.
        protocol: what the operator sets.
        noise: what the receiver adds.
        faults: what goes wrong.
        seed: of everything random. Schemes, faults and noise draw from streams of their own, so that changing
            one leaves the others as they were.
    """
    protocol, noise, faults = protocol or Protocol(), noise or Noise(), faults or Faults()
    schemes, fields, motions, losses, receivers = np.random.default_rng(seed).spawn(5)
    volumes = measurements(protocol, schemes)
    acquired, output = _grids(subject, protocol)
    truth = _truth(subject, output, max((v.b for v in volumes), default=0.0) or 1000.0)
    brain = truth.brain > 0.5
    reference = float(np.median(truth.S0[brain])) if brain.any() else 1.0
    sigma = receiver.sigma_map(output.shape, brain, reference / noise.snr, noise.variation, fields)
    shade = faults.bias * receiver.smooth_field(acquired.shape, fields)
    signal = np.empty((*output.shape, len(volumes)), np.float32)
    lost = np.zeros((output.shape[2], len(volumes)), np.bool_)
    for n, volume in enumerate(volumes):
        turn, shift = _pose(n, faults, motions)
        eddy = faults.direction_bias * receiver.smooth_field(acquired.shape, fields) * (volume.b > 0)
        keep, lost[:, n] = _losses(output.shape[2], volume.b, faults.outliers, losses)
        log_mean = np.zeros(output.shape, np.float32)
        for g in volume.applied:
            fine = _weighted(subject, volume.b, g, faults, turn)
            if n and (faults.motion or faults.rotation):
                fine = sampling.move(fine, subject.voxel_size, turn, shift)
            coarse = sampling.blur(sampling.apply(acquired.matrices, fine), protocol.readout)
            clean = sampling.zero_fill(coarse * np.exp(shade + eddy) * keep, protocol.zero_fill)
            noisy = receiver.magnitude(clean, sigma, noise.coils, protocol.zero_fill, receivers)
            log_mean += np.log(np.maximum(noisy, 1e-12)) / np.float32(len(volume.applied))
        signal[..., n] = np.exp(log_mean)
    return SimulatedScan(
        signal, *_table(volumes), output.affine, sigma, truth, lost, protocol, noise, faults, seed, output
    )


def _table(volumes: list[Measurement]) -> tuple[Float, Float]:
    return np.array([v.b for v in volumes]), np.stack([v.stated for v in volumes])


def _grids(subject: Subject, protocol: Protocol) -> tuple[Grid, Grid]:
    """The acquired matrix, and the matrix after zero filling whose first voxel has the same centre."""
    acquired, output, counts, filled = [], [], [], []
    starts, pitches = [], []
    for axis, (n, size, width) in enumerate(zip(subject.shape, subject.voxel_size, protocol.voxel, strict=True)):
        count = max(1, int(np.ceil(n * size / width - 1e-6)))
        start = (n - 1) * size / 2 - (count - 1) * width / 2  # the field of view stays centred
        factor = protocol.zero_fill if axis < 2 else 1
        acquired.append(sampling.averaging(n, size, start, width, width, count))
        output.append(sampling.averaging(n, size, start, width, width / factor, count * factor))
        counts.append(count)
        filled.append(count * factor)
        starts.append(start / size)
        pitches.append(width / factor / size)
    affine = subject.affine.copy()
    affine[:3, 3] += subject.affine[:3, :3] @ np.array(starts)
    affine[:3, :3] *= np.array(pitches)
    return _grid(acquired, counts, affine), _grid(output, filled, affine)


def _grid(matrices: list[Image], counts: list[int], affine: Float) -> Grid:
    return Grid((matrices[0], matrices[1], matrices[2]), (counts[0], counts[1], counts[2]), affine)


def _truth(subject: Subject, grid: Grid, b: float) -> Truth:
    directions = electrostatic(TRUTH_DIRECTIONS)
    S0 = sampling.apply(grid.matrices, subject.signal(0.0, directions[0]))
    voxels = 1e-3 * float(S0.max(initial=0)) < S0
    rows = [S0[voxels]] + [sampling.apply(grid.matrices, subject.signal(b / 1000, g))[voxels] for g in directions]
    table = np.concatenate([directions[:1], directions])
    theta = wls(np.stack(rows, axis=-1), np.array([0.0] + [b / 1000] * TRUTH_DIRECTIONS), table)
    D = np.zeros((*grid.shape, 6), np.float32)
    D[voxels] = theta[:, 1:]
    brain = sampling.apply(grid.matrices, subject.brain.astype(np.float32))
    return Truth(S0, D, brain, b)


def _weighted(subject: Subject, b: float, g: Float, faults: Faults, turn: Float) -> Image:
    """The signal before it is moved: a head turned by R feels the gradient Rᵀg."""
    if b == 0:
        return subject.signal(0.0, g).astype(np.float32)
    real = g * np.array(faults.gradient_scale)
    strength = float(np.linalg.norm(real))
    return subject.signal(b / 1000 * strength**2, turn.T @ (real / strength)).astype(np.float32)


def _pose(n: int, faults: Faults, rng: np.random.Generator) -> tuple[Float, Float]:
    draw = rng.standard_normal((2, 3)) * (n > 0)
    return sampling.rotation(faults.rotation * draw[0]), faults.motion * draw[1]


def _losses(slices: int, b: float, probability: float, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Factor per slice, and which were hit: motion during diffusion encoding dephases a whole slice."""
    hit = (rng.random(slices) < probability) & (b > 0)
    return np.where(hit, rng.uniform(0, 0.6, slices), 1).astype(np.float32), hit

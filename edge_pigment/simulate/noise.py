"""What receiver and coil do to a noise-free image: magnitude noise, uneven σ, smooth intensity fields."""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.simulate.sampling import zero_fill

Image = NDArray[np.float32]
Shape = tuple[int, int, int]


def magnitude(signal: Image, sigma: Image, coils: int, factor: int, rng: np.random.Generator) -> Image:
    """Noisy magnitude of a noise-free image (X, Y, Z).

    The root of the sum of squares over L coils, real and imaginary, each with Gaussian noise of sd σ: Rician
    for L = 1 (Gudbjartsson & Patz 1995, MRM 34:910), non-central χ with 2L degrees of freedom for more
    (Constantinides, Atalar & McVeigh 1997, MRM 38:852). All signal may be put into one of the 2L components,
    since their noise is isotropic.

    Args:
        signal: (X, Y, Z) >= 0.
        sigma: (X, Y, Z) noise sd of each component.
        coils: L.
        factor: zero filling in plane: noise is drawn on the matrix (X/factor, Y/factor, Z) and interpolated.
        rng: source of the noise.
    """
    x, y, z = signal.shape
    acquired = (x // factor, y // factor, z)
    total = np.zeros_like(signal)
    for component in range(2 * coils):
        noise = zero_fill(rng.standard_normal(acquired, np.float32), factor) * sigma
        total += (noise + signal if component == 0 else noise) ** 2
    return np.sqrt(total)


def smooth_field(shape: Shape, rng: np.random.Generator) -> Image:
    """A random polynomial of second order over the grid, zero mean, unit variance: a field without edges."""
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    x, y = x[:, None, None], y[:, None]
    terms = (x, y, z, x * y, x * z, y * z, x * x, y * y, z * z)
    field = np.zeros(shape, np.float32)
    for term, weight in zip(terms, rng.standard_normal(len(terms)), strict=True):
        field += np.float32(weight) * term
    spread = float(field.std())
    return (field - field.mean()) / spread if spread > 0 else field


def sigma_map(shape: Shape, brain: NDArray[np.bool_], mean: float, variation: float, rng: np.random.Generator) -> Image:
    """σ (X, Y, Z) whose mean in the brain is `mean` and whose relative variation is about `variation`."""
    relative = np.exp(np.float32(variation) * smooth_field(shape, rng)) if variation else np.ones(shape, np.float32)
    level = float(relative[brain].mean()) if brain.any() else 1.0
    return relative * np.float32(mean / level)

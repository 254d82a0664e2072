"""Weighted least squares of the diffusion tensor: what a toolbox would compute from the same scan.

The log-linear fit in two steps of Salvador et al. 2005 (Hum. Brain Mapp. 24:144): ordinary least squares,
then weights S² from its prediction. No prior, no noise floor; the same steps as DIPY's
TensorModel(fit_method='WLS').
"""

import numpy as np
from numpy.typing import ArrayLike

from edge_pigment.physics.tensor import Float, from_matrix, quadratic_form, to_matrix

MIN_SIGNAL = 1e-4
"""Signals below are raised to it before the logarithm."""


def wls(y: ArrayLike, b: ArrayLike, bvecs: ArrayLike) -> Float:
    """Fit log S0 and D to each voxel.

    Args:
        y: (V, N) magnitudes.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions, any vector where b = 0.

    Returns:
        (V, 7): log S0 and D in µm²/ms, order xx yy zz xy xz yz; eigenvalues may be negative.
    """
    b = np.asarray(b, float)
    X = np.concatenate([np.ones((len(b), 1)), -b[:, None] * quadratic_form(bvecs)], axis=1)
    log_y = np.log(np.maximum(np.asarray(y, float), MIN_SIGNAL))
    weight = np.exp(2 * log_y @ (X @ np.linalg.pinv(X)).T)
    H = (weight @ (X[:, :, None] * X[:, None]).reshape(len(b), 49)).reshape(-1, 7, 7)
    rhs = (weight * log_y) @ X
    scale = np.maximum(H[:, :1, :1], 1e-30)  # the weights' sum: keeps the regularisation below relative
    theta: Float = np.linalg.solve(H / scale + 1e-12 * np.eye(7), (rhs / scale[:, 0])[..., None])[..., 0]
    return theta


def clip_negative(D: ArrayLike) -> Float:
    """(V, 6) tensors with negative eigenvalues set to zero, as toolboxes do before they compute FA."""
    values, vectors = np.linalg.eigh(to_matrix(D))
    return from_matrix((vectors * np.maximum(values, 0)[..., None, :]) @ np.swapaxes(vectors, -1, -2))

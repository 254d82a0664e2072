"""The gradient frame, asked of the prior: are voxels what their surroundings let it expect?

`convention.check_convention` follows fibres, and needs tensors that are good voxel by voxel. With weak data they are
not; but the prior predicts each voxel from the others' summaries, whose frame and places it has learned to go
together. With wrong signs the directions are mirrored and the places are not, and it predicts worse. The measure is
the product of the predicted and the measured deviatoric tensor: the voxel's own noise is independent of the prediction,
so that it averages out over the brain, however strong it is.

It is asked of exchanged axes, too, unless fibres clearly continue worse with the best exchange. In 27 real scans that
one trails the file's axes by 1.7 to 16 standard errors of fibres, and leads by 4 to 10 where axes were exchanged. There
are 20 exchanges, so the prior must say so as clearly as fibres; where not both name the same, no axes are advised.

It is not asked where fibres have found other signs, nor where they found the file's and the tensors are the data's own
word: where they are mostly the prior's, which continues fibres in whatever frame it is shown, they speak for the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import Measurements
from edge_pigment.convention import CLEARLY, EXCHANGES, SIGNS, TRACT_FA, Axes, Convention, check_convention
from edge_pigment.interpolation import interleaved_prior
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.tensor import diffusivity
from edge_pigment.prior.context import Network
from edge_pigment.quality.swaps import block_labels, lead_of

Float = NDArray[np.float64]

UNPREDICTED = 3.0
"""Standard errors between blocks by which other signs must be predicted better. Chance exceeds it in one of three
choices in 0.4 % of scans that the prior knows nothing of; of those that it knows, wrong signs trail by 3 and more."""
OWN_WORD = 0.5
"""Median data share of white matter from which its tensors are the data's more than the prior's."""
FIRST_LOOK, MOST_VOXELS = 8_000, 30_000
"""In the middle slices: six directions at SNR 5 lead by 5 standard errors there. Four predictions of so many can cost
as much as the scan's own, so fewer are looked at first; where they speak for the file's signs that is enough, and
where not, the rest decides."""
TISSUE_MD = (0.2, 1.5)
"""µm²/ms: fluid and air have no direction to predict."""
_DOUBLED = np.array([[1.0], [1.0], [1.0], [2.0], [2.0], [2.0]])
"""How often an element of xx yy zz xy xz yz is in the matrix."""


def check_frame(
    maps: Mapping[str, Array],
    mask: NDArray[np.bool_],
    acquisition: Acquisition,
    measurements: Measurements,
    summary: Summary,
    network: Network,
) -> Convention:
    """Ask the fibres and, where they leave it open, the prior.

    Args:
        maps: of the scan, by name: tensor, FA and datashare are looked at.
        mask: (X, Y, Z).
        acquisition: the scan.
        measurements: of the mask's V voxels.
        summary: of the same voxels.
        network: that made the scan's prior.
    """
    found = check_convention(maps["tensor"], maps["FA"], mask, acquisition)
    if found.undecidable or found.lead > CLEARLY:
        return found
    share = float(np.median(maps["datashare"][mask & (maps["FA"] > TRACT_FA)]))
    open_exchange = found.exchange_lead > -CLEARLY
    if found.margin > CLEARLY and share > OWN_WORD and not open_exchange:
        return found
    asked = (summary, measurements.mask, measurements.steps, network)
    for most in (FIRST_LOOK, MOST_VOXELS):
        best, lead = ask_prior(*asked, most)
        if lead < 0 or measurements.mask.sum() <= most:  # then all has been looked at
            break
    # whoever exchanged axes must not be told to negate one, and the file's signs are not predicted well then, either
    exchange, by_exchange = None, float("-inf")
    if open_exchange or lead > -CLEARLY:
        exchange, by_exchange = ask_exchange(*asked, EXCHANGES, FIRST_LOOK)
    clear, predicted = found.exchange_lead > CLEARLY, by_exchange > max(lead, CLEARLY)
    if clear or predicted:  # where not both say the same it is left open which axes
        sure = clear and predicted and exchange == found.exchange
        warning = texts.AXES_EXCHANGED.format(axes=found.exchange_name) if sure else texts.AXES_UNCLEAR
        return replace(found, prior_lead=by_exchange, warning=warning)
    if lead > UNPREDICTED:
        return replace(found, best=best, prior_lead=lead, warning=texts.SIGNS_UNPREDICTED.format(best=best))
    return replace(found, prior_lead=lead)


def ask_prior(
    summary: Summary, mask: NDArray[np.bool_], steps: tuple[int, int, int], network: Network, most: int = MOST_VOXELS
) -> tuple[str, float]:
    """The signs other than the file's that are predicted best, and by how many standard errors better than the file's.

    Args:
        summary: of the V voxels of the mask, in the mask's C order.
        mask: (Z, Y, X).
        steps: as `Measurements` has it.
        network: that makes priors.
        most: voxels to look at, in whole slices, three at least.
    """
    choices = {name: Axes((0, 1, 2), signs) for name, signs in SIGNS.items()}
    leads = _leads(summary, mask, steps, network, list(choices.values()), most)
    best = int(np.argmax(leads[1:]))
    return list(choices)[1:][best], leads[1:][best]


def ask_exchange(
    summary: Summary,
    mask: NDArray[np.bool_],
    steps: tuple[int, int, int],
    network: Network,
    exchanges: Sequence[Axes],
    most: int = MOST_VOXELS,
) -> tuple[Axes, float]:
    """The exchange of axes that is predicted best, and by how many standard errors better than the file's; as above."""
    leads = _leads(summary, mask, steps, network, [Axes((0, 1, 2), SIGNS["none"]), *exchanges], most)
    best = int(np.argmax(leads[1:]))
    return exchanges[best], leads[1:][best]


def _leads(
    summary: Summary,
    mask: NDArray[np.bool_],
    steps: tuple[int, int, int],
    network: Network,
    choices: Sequence[Axes],
    most: int,
) -> list[float]:
    """Standard errors by which each choice of axes is predicted better than the first."""
    first, last = _middle(mask, most)
    start, end = int(mask[:first].sum()), int(mask[:last].sum())
    part = mask[first:last]
    theta, sd = (np.ascontiguousarray(values[:, start:end]) for values in summary)
    md = theta[1:4].mean(0)
    tissue = (md > TISSUE_MD[0]) & (md < TISSUE_MD[1])
    blocks = block_labels(part)
    agreement = []
    for axes in choices:
        turned, spread = theta.copy(), sd.copy()
        turned[1:], spread[1:] = _turned(theta[1:], axes), sd[1:][_elements(axes.order)]
        mean, _ = interleaved_prior(network, Summary(turned, spread), part, steps)
        agreement.append(_agreement(turned[1:], diffusivity(mean.T).T.astype(np.float32)) * tissue)
    return [lead_of(gain - agreement[0], blocks) for gain in agreement]


def _elements(order: tuple[int, int, int]) -> list[int]:
    """Where the elements xx yy zz xy xz yz of a tensor with exchanged axes lie in the tensor."""
    index = {(0, 0): 0, (1, 1): 1, (2, 2): 2, (0, 1): 3, (0, 2): 4, (1, 2): 5}
    return [index[min(order[i], order[j]), max(order[i], order[j])] for i, j in index]


def _turned(six: Array, axes: Axes) -> Array:
    """Tensors (6, V) as other axes of the directions make them."""
    return six[_elements(axes.order)] * _mirror(axes.signs).astype(np.float32)


def _middle(mask: NDArray[np.bool_], most: int) -> tuple[int, int]:
    """First and one past the last of the slices around the brain's middle that hold `most` voxels, three at least."""
    counts = mask.sum((1, 2))
    first = last = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    last += 1
    while (last - first < 3 or counts[first:last].sum() < most) and last - first < len(counts):
        first, last = max(first - 1, 0), min(last + 1, len(counts))
    return first, last


def _mirror(signs: tuple[int, int, int]) -> Float:
    """(6, 1) what negating components of the directions does to a tensor."""
    x, y, z = signs
    return np.array([1, 1, 1, x * y, x * z, y * z], float)[:, None]


def _agreement(measured: Array, predicted: Array) -> Float:
    """(V,) product of the deviatoric tensors over the root of their norms, so that no few voxels decide."""
    D, P = (np.asarray(six, float) - _isotropic(six) for six in (measured, predicted))
    norms = [np.sqrt((_DOUBLED * six**2).sum(0)) for six in (D, P)]
    return np.asarray((_DOUBLED * D * P).sum(0) / np.sqrt(norms[0] * norms[1] + 1e-12))


def _isotropic(six: Array) -> Float:
    found = np.zeros(six.shape)
    found[:3] = six[:3].mean(0)
    return found

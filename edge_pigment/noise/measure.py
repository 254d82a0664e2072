"""All that a run needs to know of a scan's noise, and what it must say where the noise is not what it seems."""

from typing import Any, NamedTuple

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, Volume
from edge_pigment.findings import CARE, Finding
from edge_pigment.noise import CLEANEST_SNR, NO_NOISE, SPATIAL, estimate_sigma
from edge_pigment.noise.air import extra_floor, measure_air, sigma_before_averages
from edge_pigment.noise.correlation import Correlation, noise_correlation
from edge_pigment.noise.details import Mask
from edge_pigment.noise.field import relative_sigma
from edge_pigment.noise.filtered import Filtered, find_filter

GIVEN = "given by the user"
OVER_DISTANCES = "spatial details over the distance of independent voxels"

IN_AIR = "air, of several coils"
MOST_ABOVE = 1.5
"""Times by which σ of air may exceed that of the brain and be taken: at SNR 12 and b = 2000 the brain's is a fifth
low."""
RICIAN = 1.5
"""Effective coils below which air is Rician, so that its σ should be the brain's."""
LOUDER, QUIETER = 2.0, 3.0
"""Times by which σ of air may be above the brain's, or below it: parallel imaging amplifies noise in the head by its
g-factor, of up to 3; nothing does so in air alone."""
SIGMA_APART = 2.0
"""Times by which the user's σ may differ from the one that the scan shows: estimates of one scan differ by half at
most, and σ in another unit differs by far more."""


class Noise(NamedTuple):
    """The noise of a scan.

    sigma: sd in the unit of the image, the median of the brain's. method: how it was found. correlation: how far it is
    alike. relative: (X, Y, Z) sd over `sigma` where it varies, None where it does not. floor: mean square, in the
    image's unit, by which magnitudes without signal exceed those of Rician noise. findings: what the user should know.
    """

    sigma: float
    method: str
    correlation: Correlation = Correlation()
    relative: Volume | None = None
    floor: float = 0.0
    findings: tuple[Finding, ...] = ()

    def as_dict(self, scale: float) -> dict[str, Any]:
        """For the provenance; scale is the median b=0 signal in the brain."""
        told: dict[str, Any] = {
            "Sigma": self.sigma,
            "SNRb0": scale / self.sigma,
            "Method": self.method,
            "IndependentAtVoxels": list(self.correlation.steps),
            "Note": " ".join(finding.text for finding in self.findings),
        }
        if self.floor:
            told["FloorOfMagnitudes"] = float(np.sqrt(self.floor + 2 * self.sigma**2))
        if self.relative is not None:
            told["RelativeSigma"] = [round(float(q), 3) for q in np.quantile(self.relative, (0.05, 0.5, 0.95))]
        return told


def measure_noise(acquisition: Acquisition, mask: Mask, given: float | None = None) -> Noise:
    """Measure the noise of a scan.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
        given: σ in the image's unit, if the user knows it.
    """
    correlation, air = noise_correlation(acquisition, mask), measure_air(acquisition)
    findings, is_known = [], True
    found = estimate_sigma(acquisition, mask)
    if given is not None:
        sigma, method = float(given), GIVEN
        seen = correlation.sigma or found.sigma
        apart = given / max(seen, np.finfo(float).tiny)
        # of a denoised scan σ before denoising is what was asked for
        if apart < 1 / SIGMA_APART or (apart > SIGMA_APART and not find_filter(acquisition, mask).is_filtered):
            findings.append(Finding(CARE, texts.SIGMA_DOUBTFUL.format(given=given, seen=seen)))
    else:
        sigma, method = found.sigma, found.method
        if found.note == NO_NOISE:
            is_known = False
            findings.append(Finding(CARE, texts.NOISE_NOT_FOUND.format(snr=CLEANEST_SNR)))
        if correlation.sigma and method == SPATIAL:
            sigma, method = correlation.sigma, OVER_DISTANCES
        sigma *= correlation.excess
        filtered = find_filter(acquisition, mask) if correlation.is_white else Filtered()
        if filtered.is_filtered:
            sigma = max(sigma * filtered.factor, sigma_before_averages(air))
            findings.append(Finding(CARE, texts.NOISE_FILTERED))
    if correlation.steps[2] > 1:
        findings.append(Finding(CARE, texts.NOISE_RESAMPLED))
    relative = None if given is not None else relative_sigma(acquisition, mask, max(correlation.steps[:2]))
    # air does not help where σ was not found: next to nothing, any air is a floor
    floor = extra_floor(air, sigma) if is_known else 0.0
    if floor and air is not None and given is None and sigma < air.sigma < MOST_ABOVE * sigma:
        # low magnitudes of many coils vary less than estimates in the brain allow for
        sigma, method = air.sigma, IN_AIR
        floor = extra_floor(air, sigma)
    if air is not None and is_known and air.coils < RICIAN and not 1 / QUIETER < air.sigma / sigma < LOUDER:
        findings.append(Finding(CARE, texts.NOISE_DISAGREES.format(air=air.sigma, brain=sigma)))
    return Noise(float(sigma), method, correlation, relative, floor, tuple(findings))

"""The verdict on a scan: usable, usable with care, or repeat the scan; each with its reasons in plain words."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.errors import listed
from edge_pigment.findings import CARE, REPEAT, USABLE

if TYPE_CHECKING:
    from edge_pigment.quality import Quality

__all__ = ["CARE", "REPEAT", "USABLE", "Verdict", "judge"]
LEAST_SNR = 3.0
"""Of b=0: below, weighted volumes at b = 1000 lie at the noise floor, and the maps are the prior's."""
LOW_SNR = 6.0
"""Of b=0: below, FA rests on the prior in most voxels; the maps say so voxel by voxel."""
REPEAT_MM = 4.0
"""Motion beyond any voxel of a usual scan: different tissue lies in one voxel's measurements."""
LARGEST_MISFIT = 2.0
"""Median residual over what noise leaves. 25 real scans have 0.9 to 1.2, two crops of many b-values have 1.6."""
MANY_DROPPED = 0.05
"""Share of slices lost at which a slice position is likely to lack several directions."""


class Verdict(NamedTuple):
    """One of USABLE, CARE, REPEAT; reasons, the gravest first; measures, what was looked at when all is well."""

    level: str
    reasons: tuple[str, ...]


def judge(quality: "Quality") -> Verdict:
    """Weigh the measures."""
    repeat, care = [], []
    q = quality
    kept = q.directions_left
    bad = q.levels.outliers
    if bad:
        text = texts.VOLUMES_OUTLYING.format(
            volumes=listed(q.named(bad)), percent=listed(round(100 * np.expm1(q.levels.gain[n])) for n in bad)
        )
        if kept >= 6 and q.b0_left:
            care.append(f"{text} {texts.LEAVE_VOLUMES_OUT}")
        else:
            repeat.append(f"{text} {texts.TOO_FEW_WITHOUT.format(kept=kept)}")
    if not q.levels.adc_is_plausible and not bad:
        repeat.append(texts.ADC_IMPLAUSIBLE.format(adc=q.levels.adc))
    dropped = [(n, z) for n, z in q.levels.dropped if n not in bad]
    if dropped:
        places = ", ".join(f"{q.named([n])[0]}/{z}" for n, z in dropped[:8]) + (" ..." if len(dropped) > 8 else "")
        text = texts.SLICES_DROPPED.format(count=len(dropped), places=places)
        many = len(dropped) > MANY_DROPPED * q.slices
        (repeat if many and kept <= 6 else care).append(text)
    if q.swap.found:
        pairs = " or ".join("{} and {}".format(*q.named(pair)) for pair in q.swap.pairs)
        text = texts.SWAPPED_OR_MOVED if q.swap.undecidable else texts.VOLUMES_SWAPPED
        care.append(text.format(pairs=pairs, lead=q.swap.lead))
    if q.motion.moved:
        text = texts.MOVED.format(mm=q.motion.span, degrees=q.rotation, volumes=listed(q.named(q.motion.moved)))
        if q.motion.span_without_eddy > REPEAT_MM:
            repeat.append(f"{text} {texts.MOVED_TOO_FAR}")
        elif q.motion.span > REPEAT_MM:
            care.append(f"{text} {texts.MOVED_BY_EDDY_CURRENTS}")
        else:
            care.append(f"{text} {texts.MOVED_SOMEWHAT}")
    if q.convention.warning:
        care.append(q.convention.warning)
    if q.snr < LEAST_SNR:
        repeat.append(texts.SNR_TOO_LOW.format(snr=q.snr))
    elif q.snr < LOW_SNR:
        care.append(texts.SNR_LOW.format(snr=q.snr))
    if q.misfit > LARGEST_MISFIT:
        care.append(texts.MISFIT.format(times=q.misfit))
    care += q.mask_doubts
    care += q.identifiability.warnings
    repeat += [finding.text for finding in q.findings if finding.level == REPEAT]
    care += [finding.text for finding in q.findings if finding.level == CARE]
    level = REPEAT if repeat else CARE if care else USABLE
    return Verdict(level, tuple(repeat + care))

"""What a run finds out about its own input: a level and a sentence, collected on the way and weighed in the verdict."""

from typing import NamedTuple

USABLE, CARE, REPEAT = "usable", "usable with care", "repeat the scan"
"""Levels of a verdict, the mildest first."""


NOTE = "note"
"""Level of a finding that is told among the warnings and leaves the verdict as it is."""


class Finding(NamedTuple):
    """One reason for a verdict, or a note.

    level: CARE or REPEAT, the best that the verdict can be with it; NOTE. text: a sentence for the user.
    """

    level: str
    text: str

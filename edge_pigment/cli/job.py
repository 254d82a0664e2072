"""What one `edge-pigment run` has to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition
    from edge_pigment.outputs.bids import ScanName
    from edge_pigment.pipeline import RunOptions


@dataclass(frozen=True)
class Job:
    """The scans with their results' names, where to, and how.

    is_dataset: the scans are those of a BIDS dataset, and participants are added to `output` one by one;
        otherwise
    there is one scan, and `output` is its result.
    """

    scans: tuple[tuple[Path, "ScanName"], ...]
    output: Path
    is_dataset: bool
    options: "RunOptions"
    bval: Path | None
    bvec: Path | None
    as_json: bool
    quiet: bool

    def read(self, scan: Path) -> "Acquisition":
        """Read one of the scans.

        Raises:
            InputError: its files are missing, damaged or make no sense.
        """
        from edge_pigment.acquisition import read_acquisition

        return read_acquisition(scan, self.bval, self.bvec, self.options.b0_threshold)

"""What one `edge-pigment run` has to do."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pigment import errors as texts
from edge_pigment.cli.console import DEBUG, say
from edge_pigment.cli.faults import explain
from edge_pigment.errors import SOME_FAILED, EdgePigmentError, InputError, ResourceError, UnrelatedError

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition
    from edge_pigment.outputs.bids import ScanName
    from edge_pigment.pipeline import RunOptions
    from edge_pigment.reading.bids import Skipped


@dataclass(frozen=True)
class Job:
    """The scans with their results' names, where to, and how.

    is_dataset: the scans are those of a BIDS dataset, and participants are added to `output` one by one;
        otherwise
    there is one scan, and `output` is its result.
    skipped: images of the dataset that are no scans by their names. overwrite: whether an older result may be replaced.
    told: what was said that holds for every scan.
    """

    scans: tuple[tuple[Path, "ScanName"], ...]
    output: Path
    is_dataset: bool
    options: "RunOptions"
    bval: Path | None
    bvec: Path | None
    as_json: bool
    quiet: bool
    skipped: tuple["Skipped", ...] = ()
    overwrite: bool = False
    told: set[str] = field(default_factory=set)

    def warn_once(self, note: str) -> None:
        """Say what holds for every scan once."""
        if note not in self.told:
            self.told.add(note)
            say("warning", note)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that was named, or found, as input."""
        options = self.options
        given = (self.bval, self.bvec, options.mask, options.bundle, options.public_key)
        return (*(path for path, _ in self.scans), *(path for path in given if path is not None))

    def read(self, scan: Path) -> "Acquisition":
        """Read one of the scans.

        Raises:
            InputError: its files are missing, damaged or make no sense.
        """
        from edge_pigment.acquisition import read_acquisition

        return read_acquisition(scan, self.bval, self.bvec, self.options.b0_threshold)


@dataclass(eq=False)
class Refusals:
    """Images of a dataset that were not run: unrelated ones, which is no fault, and scans that failed.

    One of them never costs the others; each is told when it is met.
    """

    skipped: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def skip(self, scan: Path, why: str) -> None:
        """Tell that an image is passed over."""
        say("warning", texts.BIDS_SKIPPED.format(scan=scan.name, why=why))
        self.skipped.append({"scan": scan, "reason": why})

    def fail(self, participant: str, scan: Path | None, error: Exception) -> None:
        """Tell that a scan failed, or all of a participant's; an image that is no scan of its own is passed over.

        Raises:
            Exception: an unexpected one, where a traceback is asked for.
        """
        from edge_pigment.reading.bids import is_called_derived

        if not isinstance(error, EdgePigmentError):
            if os.environ.get(DEBUG, "0") not in ("", "0"):
                raise error
            message = " ".join(str(error).split()) or "no message"
            unexpected = EdgePigmentError(texts.UNEXPECTED.format(kind=type(error).__name__, message=message))
            error = explain(error) or unexpected
        bad_input = isinstance(error, InputError) and not isinstance(error, ResourceError)
        derived = scan is not None and bad_input and is_called_derived(scan)
        if scan is not None and (isinstance(error, UnrelatedError) or derived):
            self.skip(scan, str(error))
            return
        say("error", f"{participant}: {error}")
        told = {"participant": participant, "scan": scan, "error": str(error), "exit_code": error.exit_code}
        self.failed.append(told)

    def exit_code(self, done: int) -> int:
        """Of a command that ran `done` scans: 0 where nothing failed.

        Raises:
            InputError: there was nothing to run at all.
        """
        if self.failed:
            return SOME_FAILED if done else int(self.failed[0]["exit_code"])
        if not done:
            first = self.skipped[0]
            raise InputError(texts.BIDS_NOTHING_RUN.format(scan=first["scan"].name, why=first["reason"]))
        return 0

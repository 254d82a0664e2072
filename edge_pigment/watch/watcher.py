"""The loop's one step: look at the folder, and where volumes have arrived make the maps anew."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_pigment.errors import InputError
from edge_pigment.pipeline import Result, RunOptions, Tools, open_tools, run
from edge_pigment.precision import Precision, measure_precision
from edge_pigment.watch.folder import Arrivals, Folder
from edge_pigment.watch.outlook import Forecast, forecast

Runner = Callable[..., Result]


@dataclass(frozen=True, eq=False)
class Update:
    """What the operator is told after a look that found something new; passed_over: images that were not told before
    and are no part of the scan."""

    volumes: int
    b0s: int
    precision: Precision | None
    forecast: Forecast | None
    seconds: float
    note: str = ""
    waiting: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {"volumes": self.volumes, "b0": self.b0s, "seconds": round(self.seconds, 3), "note": self.note}
        precise = {} if self.precision is None else self.precision.as_dict()
        ahead = {} if self.forecast is None else self.forecast._asdict()
        lists = {"waiting": self.waiting, "repeats": self.repeats, "passed_over": self.passed_over}
        lists |= {"warnings": self.warnings}
        return {**told, **precise, **ahead, **lists, "verdict": self.verdict}


@dataclass(eq=False)
class Watcher:
    """Watches one scan.

    Attributes:
        path: folder that volumes arrive in.
        target: sd of FA in white matter that the scan is for.
        options: of the pipeline.
        runner: makes the maps.
        result: of the last update that had enough volumes; its maps are those of `pipeline.run`.
        history: every update so far.

    Raises:
        InputError: the folder is not there.
    """

    path: Path
    target: float
    options: RunOptions = field(default_factory=RunOptions)
    runner: Runner = run
    result: Result | None = None
    history: list[Update] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = Folder(self.path)
        self._seen: tuple[str, tuple[str, ...]] | None = None
        self._tools: Tools | None = None
        self._strays: set[str] = set()

    def look(self) -> Update | None:
        """Update the maps if there is anything new; None if there is not.

        Raises:
            InputError: the volumes cannot belong to one scan.
        """
        began = time.perf_counter()
        arrived = self._folder.look()
        state = (arrived.fingerprint, arrived.waiting)
        if state == self._seen:
            return None
        if self._seen is not None and state[0] == self._seen[0] and self.history:
            self._seen = state
            return None  # a file that is being written has grown; nothing is complete yet
        self._seen = state
        # each is said once
        new = tuple(name for name in arrived.passed_over if name not in self._strays)
        self._strays |= set(new)
        update = replace(self._update(arrived, began), passed_over=new)
        self.history.append(update)
        return update

    def _update(self, arrived: Arrivals, began: float) -> Update:
        acquisition = arrived.acquisition
        if acquisition is None:
            return Update(0, 0, None, None, 0.0, "no volume yet", arrived.waiting)
        acquisition = acquisition.with_b0_threshold(self.options.b0_threshold)
        b0s = int(acquisition.gradients.is_b0.sum())
        try:
            acquisition.gradients.check_protocol()
        except InputError:
            missing = "a b=0 volume" if not b0s else "a diffusion-weighted volume"
            note = f"waiting for {missing}"
            return Update(arrived.count, b0s, None, None, 0.0, note, arrived.waiting, arrived.repeats)
        self._tools = self._tools or open_tools(self.options)
        self.result = self.runner(acquisition, self.options, tools=self._tools)
        precision = measure_precision(self.result.maps, self.result.mask)
        return Update(
            volumes=arrived.count,
            b0s=b0s,
            precision=precision,
            forecast=forecast(precision, self.target),
            seconds=time.perf_counter() - began,
            waiting=arrived.waiting,
            repeats=arrived.repeats,
            warnings=self.result.warnings,
            verdict=str(self.result.provenance.get("Quality", {}).get("Verdict", "")),
        )

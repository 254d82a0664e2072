"""Write a result: maps with sidecars, mask, provenance, sheet, report, and what makes the folder a BIDS dataset."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import __version__
from edge_pigment import errors as texts
from edge_pigment.outputs.bids import (
    BIDS_VERSION,
    BIDSIGNORE,
    MAPS,
    MASK,
    PROVENANCE,
    REPORT,
    SHEET,
    ScanName,
    as_written,
    sidecar,
)
from edge_pigment.outputs.nifti import write_nifti
from edge_pigment.outputs.report import draw_report
from edge_pigment.outputs.sheet import draw_sheet
from edge_pigment.outputs.target import DESCRIPTION, GENERATOR
from edge_pigment.visible import all_visible, recovered, safe_json, visible

if TYPE_CHECKING:
    from edge_pigment.pipeline import Result

DIRECTIONAL = ("V1", "V1_sd", "FA", "FA_sd", "AD", "AD_sd", "RD", "RD_sd", "tensor")
"""Maps that no measurement tells anything of where none has a direction."""
_PNG_LEVEL = 3  # a tenth larger than the default, in half the time


class Written(NamedTuple):
    """What `write_scan` wrote.

    files: paths relative to the dataset: of each map by its name, of "mask", "sheet", "report" and
        "provenance".
    provenance: as it is in the file.
    """

    files: dict[str, Path]
    provenance: dict[str, Any]


def write_scan(
    result: "Result",
    name: ScanName,
    dataset: Path,
    threads: int | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Written:
    """Write one scan's result below `dataset`.

    Args:
        result: of `pipeline.run`.
        name: what to call the files.
        dataset: folder of the derivative dataset, usually a `Staging.path`.
        threads: files compressed at once; default: the machine's cores.
        seconds: of steps outside the pipeline, such as reading, for the provenance.

    Returns:
        what was written.
    """
    start = time.perf_counter()
    (dataset / name.folder).mkdir(parents=True, exist_ok=True)
    sources = {"Sources": [f"bids:raw:{name.source}"] if name.source else []}
    written: dict[str, Path] = {}

    def image(key: str, stem: str, data: NDArray[Any], content: dict[str, Any]) -> None:
        written[key] = name.path(f"{stem}.nii.gz")
        about = f"edge-pigment {__version__} {key}"
        write_nifti(dataset / written[key], data, result.affine, result.header, about)
        write_json(dataset / name.path(f"{stem}.json"), content | sources)

    def one_map(key: str) -> None:
        image(key, MAPS[key].suffix(), as_written(key, result.maps[key], result.affine), sidecar(MAPS[key]))

    def mask() -> None:
        about = {"Type": "Brain", "Description": "Voxels with results: the brain."}
        image("mask", MASK, np.asarray(result.mask, np.uint8), about)

    title = visible(Path(name.source).name if name.source else name.prefix)
    took = {**(seconds or {}), **result.provenance.get("Seconds", {})}
    told = all_visible({**result.provenance, "Seconds": took})
    warnings = all_visible(result.warnings)
    shown = _shown(result)

    def report() -> None:
        written["report"] = name.path(REPORT)
        page = draw_report(shown, result.mask, result.affine, title, told, warnings)
        (dataset / written["report"]).write_text(page, "utf-8")

    def sheet() -> None:
        written["sheet"] = name.path(SHEET)
        picture = draw_sheet(shown, result.mask, result.affine, title, all_visible(result.provenance), warnings)
        picture.save(dataset / written["sheet"], compress_level=_PNG_LEVEL)

    largest_first = sorted(result.maps, key=lambda key: -result.maps[key].size)
    _all_at_once([sheet, report, *(lambda key=key: one_map(key) for key in largest_first), mask], threads)

    written["provenance"] = name.path(PROVENANCE)
    took["write"] = round(time.perf_counter() - start, 4)
    provenance = {**result.provenance, "Seconds": took, **sources, "Warnings": list(result.warnings)}
    write_json(dataset / written["provenance"], provenance)
    return Written({key: written[key] for key in (*result.maps, "mask", "sheet", "report", "provenance")}, provenance)


def _shown(result: "Result") -> dict[str, NDArray[Any]]:
    """The maps that pictures show: all that were measured at all. A guess would look as good as the rest."""
    if texts.TRACE_ONLY not in result.warnings:
        return dict(result.maps)
    return {key: image for key, image in result.maps.items() if key not in DIRECTIONAL}


def write_dataset_files(dataset: Path, name: ScanName, target: Path) -> None:
    """Write what makes `dataset` a BIDS derivative: its description and the list of files BIDS does not know.

    Args:
        dataset: folder to write in.
        name: of a scan of the dataset.
        target: where `dataset` will be moved to; the link to the source is relative to it.
    """
    description: dict[str, Any] = {
        "Name": "edge-pigment: diffusion tensor maps with uncertainty",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    if name.source_root is not None:
        # both by their real paths: a system follows .. from the folder that a link leads to
        link = os.path.relpath(os.path.realpath(name.source_root), os.path.realpath(target))
        description["DatasetLinks"] = {"raw": Path(link).as_posix()}
    write_json(dataset / DESCRIPTION, description)
    (dataset / ".bidsignore").write_text(BIDSIGNORE, "utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file for people to read."""
    packed = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(safe_json(packed) + "\n", "utf-8")


def plain(value: Any) -> Any:
    """The same as JSON has it: lists for arrays, strings for paths, null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {recovered(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, int | float):
        return value
    return recovered(str(value))


def _all_at_once(jobs: list[Callable[[], None]], threads: int | None) -> None:
    """Run the jobs in threads: zlib and Pillow let go of Python's lock. The first error ends it."""
    with ThreadPoolExecutor(max(1, threads or os.cpu_count() or 1)) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

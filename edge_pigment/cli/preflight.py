"""What can stop a run, looked at before anything is computed; a dry run looks at the same."""

from pathlib import Path
from typing import Any

from edge_pigment import errors as texts
from edge_pigment.cli.job import Job

_MOST_COMPRESSED = 1100
"""Times that gzip can shrink anything: a header that promises more than that is wrong."""


def check_job(job: Job) -> list[str]:
    """Look at the place for the results of a job, and at their names.

    Returns:
        what the user should know.

    Raises:
        InputError: they cannot or must not be written there.
    """
    from edge_pigment.outputs.bids import planned_files
    from edge_pigment.outputs.lock import no_locks, unsupported
    from edge_pigment.outputs.staging import refuse_if_in_use
    from edge_pigment.outputs.target import check_names, check_target, home_of, place_of

    participants = list(dict.fromkeys(name.participant for _, name in job.scans)) if job.is_dataset else None
    check_target(job.output, job.overwrite, participants, job.inputs)
    place = place_of(job.output)
    refuse_if_in_use(place, participants, job.output)
    notes = []
    for path, name in job.scans:
        check_names(job.output, job.is_dataset, planned_files(name))
        if name.shortened:
            notes.append(texts.NAME_SHORTENED.format(name=path.name, prefix=name.prefix))
    if unsupported(home_of(place, job.is_dataset)):
        notes.append(no_locks(job.output))
    return notes


def check_scan(job: Job, scan: Path, before: int = 0) -> tuple[list[str], int]:
    """Look at what a scan takes, of which only the header is read; one that cannot be read is left to its reader.

    Args:
        job: which it belongs to.
        scan: the image.
        before: bytes on disk that other results will take before this one.

    Returns:
        what the user should know, and the bytes that the result likely takes on disk.

    Raises:
        ResourceError: it fits neither into memory or onto the disk.
    """
    from edge_pigment.outputs.room import check_disk, check_memory, likely_size

    shape = _shape(scan)
    if shape is None:
        return [], 0
    voxels = shape[0] * shape[1] * shape[2]
    check_memory(scan.name, voxels, shape[3])
    return list(check_disk(job.output, job.is_dataset, voxels, before)), likely_size(voxels)


def _shape(scan: Path) -> tuple[int, int, int, int] | None:
    import nibabel as nib

    try:
        image: Any = nib.load(scan)
        shape = [int(n) for n in image.shape]
        values = 1
        for n in shape:
            values *= n
        stored = values * image.header.get_data_dtype().itemsize
        data = Path(image.file_map["image"].filename)
        room = data.stat().st_size * (_MOST_COMPRESSED if data.suffix == ".gz" else 1)
    except Exception:  # nibabel, gzip and zlib each have their own; the reader tells what is wrong
        return None
    if len(shape) < 3 or min(shape) < 1 or stored > room:
        return None
    return shape[0], shape[1], shape[2], values // (shape[0] * shape[1] * shape[2])

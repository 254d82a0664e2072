"""A BIDS dataset: which of its images are diffusion scans, and which tables belong to an image."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.reading.image import beside, stem

DESCRIPTION = "dataset_description.json"
_SCAN_SUFFIXES = ("_dwi.nii", "_dwi.nii.gz")
_PARTS = {"phase": "phase", "real": "real part", "imag": "imaginary part"}
_DERIVED = re.compile(r"(adc|eadc|fa|colfa|md|trace|tracew|exp|tensor|mean|denoised)", re.IGNORECASE)
"""Labels of `rec-` and `desc-` by which consoles and converters call images that they computed."""


class Skipped(NamedTuple):
    """An image that is passed over, and why."""

    path: Path
    why: str


class Discovery(NamedTuple):
    """scans: images that may be diffusion scans, sorted. skipped: those that are none by their names."""

    scans: list[Path]
    skipped: list[Skipped]


def find_bids(folder: str | Path, participant_label: str | Sequence[str] | None = None) -> list[Path]:
    """The diffusion scans of a BIDS dataset, as `discover` finds them."""
    return discover(folder, participant_label).scans


def discover(folder: str | Path, participant_label: str | Sequence[str] | None = None) -> Discovery:
    """Look for `sub-*/[ses-*/]dwi/*_dwi.nii[.gz]`, parts of complex scans and versions of a scan beside it left out.

    Args:
        folder: of the dataset.
        participant_label: one label or several, with or without `sub-`; None for every participant.

    Raises:
        InputError: no such folder, no BIDS dataset, no such participant, or no diffusion scan.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(texts.BIDS_FOLDER_MISSING.format(path=root))
    participants = {p.name.removeprefix("sub-"): p for p in sorted(root.glob("sub-*")) if p.is_dir()}
    if not participants:
        raise InputError(texts.BIDS_NO_SUBJECTS.format(path=root))
    asked = [participant_label] if isinstance(participant_label, str) else participant_label
    labels = list(participants) if asked is None else [label.removeprefix("sub-") for label in asked]
    scans: list[Path] = []
    skipped: list[Skipped] = []
    for label in dict.fromkeys(labels):
        if label not in participants:
            known = ", ".join(participants)
            raise InputError(texts.BIDS_NO_PARTICIPANT.format(path=root, label=label, known=known))
        images = _images(participants[label])
        out = [Skipped(image, why) for image in images if (why := _no_scan(image, images))]
        left = [image for image in images if image not in {path for path, _ in out}]
        if not left and asked is not None:
            raise InputError(texts.BIDS_NO_DWI.format(path=root, label=f"sub-{label}"))
        scans += left
        skipped += out
    if not scans:
        raise InputError(texts.BIDS_NO_DWI.format(path=root, label="any participant"))
    return Discovery(scans, skipped)


def is_called_derived(image: Path) -> bool:
    """Whether the name says that the image was computed, such as `rec-ADC`."""
    return any(_DERIVED.fullmatch(e.partition("-")[2]) for e in _entities(image) if e.startswith(("rec-", "desc-")))


def gradient_file(image: Path, kind: str, given: str | Path | None) -> tuple[Path, bool]:
    """The .bval or .bvec of an image: as given, beside the image, or inherited from a folder above in its dataset.

    Args:
        image: path of the image.
        kind: bval or bvec.
        given: by the user; None where nothing was.

    Returns:
        the file, and whether it was inherited.

    Raises:
        InputError: there is none, or it is not clear which applies.
    """
    path = beside(image, f".{kind}") if given is None else Path(given)
    if path.is_file():
        return path, False
    if given is None and (inherited := _inherited(image, kind)) is not None:
        return inherited, True
    raise InputError(texts.GRADIENT_FILE_MISSING.format(kind=kind, looked=path))


def _images(participant: Path) -> list[Path]:
    """Files that are called diffusion scans, sorted; hidden ones are left out: macOS puts them beside each file."""
    folders = [participant / "dwi", *(session / "dwi" for session in participant.glob("ses-*"))]
    return sorted(
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.lower().endswith(_SCAN_SUFFIXES) and not path.name.startswith(".")
    )


def _no_scan(image: Path, others: list[Path]) -> str:
    """Why an image is no scan of its own, by its name and those beside it; empty where it may be one."""
    entities = _entities(image)
    for part, words in _PARTS.items():
        if f"part-{part}" in entities:
            return texts.BIDS_PART.format(part=words)
    plain = [e for e in entities if not e.startswith("desc-")]
    for other in others:
        if other.parent == image.parent and len(plain) < len(entities) and _entities(other) == plain:
            return texts.BIDS_DERIVED.format(scan=other.name)
    return ""


def _entities(image: Path) -> list[str]:
    """Such as sub-01, run-1; the suffix is none of them."""
    return stem(image).split("_")[:-1]


def _root(image: Path, participant: str) -> Path | None:
    """The dataset that an image is in: the nearest folder above with a description, or with the participant's folder
    on the way to the image; None for an image on its own."""
    image = image.absolute()
    for folder in image.parents:
        if (folder / DESCRIPTION).is_file() or folder / participant in image.parents:
            return folder
    return None


def _inherited(image: Path, kind: str) -> Path | None:
    """The file that applies by the inheritance principle of BIDS: the nearest, of those the most specific.

    A file in a folder above applies to every image whose entities include all of the file's.

    Raises:
        InputError: two files apply in the same folder, equally specific.
    """
    *entities, suffix = stem(image).split("_")
    if not entities or not entities[0].startswith("sub-") or (root := _root(image, entities[0])) is None:
        return None
    for folder in image.absolute().parents:
        fits = [
            path
            for path in sorted(folder.glob(f"*{glob.escape(suffix)}.{kind}"))
            if path.stem.split("_")[-1] == suffix and set(path.stem.split("_")[:-1]) <= set(entities)
        ]
        fits.sort(key=lambda path: -path.stem.count("_"))
        if len(fits) > 1 and fits[0].stem.count("_") == fits[1].stem.count("_"):
            raise InputError(texts.TABLE_AMBIGUOUS.format(first=fits[0], second=fits[1], image=image.name, kind=kind))
        if fits:
            return fits[0]
        if folder == root:
            break
    return None

"""`edge-pigment simulate`: a scan of the digital head, or of tensors, and its truth, as a BIDS dataset."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.console import path_option, say, tell, verb
from edge_pigment.errors import InputError

if TYPE_CHECKING:
    from edge_pigment.simulate import SimulatedScan

SCAN = Path("sub-phantom", "dwi", "sub-phantom_dwi")
TRUTH = Path("derivatives", "truth")
_SECTIONS = ("protocol", "noise", "faults")


@verb
def simulate(
    output: Annotated[Path, path_option("--output", "-o", help="Folder to make, a BIDS dataset.")],
    profile: Annotated[
        str | None,
        typer.Option(help="Start from a field's usual protocol and noise: 0.05T, 64mT, 0.55T, 1.5T or 3T."),
    ] = None,
    directions: Annotated[int | None, typer.Option(help="Diffusion directions.  [default: 6]")] = None,
    b: Annotated[float | None, typer.Option("--b", help="b-value of the directions, s/mm².  [default: 1000]")] = None,
    b0: Annotated[int | None, typer.Option("--b0", help="Volumes of b=0.  [default: 1]")] = None,
    voxel: Annotated[tuple[float, float, float] | None, typer.Option(help="Voxel, mm.  [default: 2.5 2.5 5]")] = None,
    snr: Annotated[float | None, typer.Option(help="Of the b=0 signal in the brain.  [default: 10]")] = None,
    settings: Annotated[
        Path | None,
        path_option(help="JSON with protocol, noise and faults in full; it goes before the other options."),
    ] = None,
    tensor: Annotated[
        Path | None,
        path_option(help="Tensor image to scan instead of the head, as edge-pigment or dtifit writes it."),
    ] = None,
    s0: Annotated[Path | None, path_option("--s0", help="b=0 image without noise that belongs to --tensor.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the head and of everything random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older simulation.")] = False,
) -> None:
    """Simulate a scan of a digital head whose truth is known.

    Makes OUTPUT/sub-phantom/dwi with the scan and OUTPUT/derivatives/truth with the maps that a perfect scan
    of the same voxels would give. --profile comes first, then the options, then --settings.
    """
    from edge_pigment.outputs.lock import no_locks
    from edge_pigment.outputs.staging import Staging, refuse_if_in_use
    from edge_pigment.outputs.target import check_target, place_of

    chosen = _start(profile)
    given = {"voxel": voxel, "b0": b0}
    chosen["protocol"] |= {name: value for name, value in given.items() if value is not None}
    if b is not None or directions is not None:
        shell = {"b": 1000.0 if b is None else b, "directions": 6 if directions is None else directions}
        chosen["protocol"]["shells"] = [shell]
    if snr is not None:
        chosen["noise"]["snr"] = snr
    if settings is not None:
        for section, values in _read(settings).items():
            chosen[section] |= values
    check_target(output, overwrite, inputs=[path for path in (settings, tensor, s0) if path is not None])
    refuse_if_in_use(place_of(output), None, output)
    scan = _simulate(chosen, tensor, s0, seed)
    with Staging(output, overwrite=overwrite) as stage:
        if not stage.locks:
            say("warning", no_locks(output))
        _write(scan, stage.path)
        stage.publish()
    tell(f"Scan:  {output / SCAN}.nii.gz", f"Truth: {output / TRUTH}", "", f"Try:   edge-pigment run {output} -o maps")


def _start(profile: str | None) -> dict[str, dict[str, Any]]:
    """Protocol, noise and faults of a profile, or the usual ones."""
    from edge_pigment.simulate import profile_names, read_profile

    if profile is None:
        return {section: {} for section in _SECTIONS}
    if profile not in profile_names():
        known = f"one of {', '.join(profile_names())}"
        raise InputError(texts.OPTION_OUT_OF_RANGE.format(option="--profile", expected=known, value=profile))
    found = read_profile(profile)
    return {"protocol": found.protocol.model_dump(), "noise": found.noise.model_dump(), "faults": {}}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(texts.SETTINGS_UNREADABLE.format(path=path, why=error)) from error
    if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
        raise InputError(texts.SETTINGS_UNREADABLE.format(path=path, why="it is no object of objects"))
    if unknown := [section for section in found if section not in _SECTIONS]:
        raise InputError(texts.SETTINGS_WRONG.format(where=unknown[0], why=f"known are {', '.join(_SECTIONS)}"))
    return found


def _simulate(chosen: dict[str, dict[str, Any]], tensor: Path | None, s0: Path | None, seed: int) -> "SimulatedScan":
    from pydantic import ValidationError

    from edge_pigment.phantom import make_phantom
    from edge_pigment.simulate import Faults, Noise, Protocol, read_subject, simulate_scan

    try:
        protocol = Protocol.model_validate(chosen["protocol"])
        noise = Noise.model_validate(chosen["noise"])
        faults = Faults.model_validate(chosen["faults"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(texts.SETTINGS_WRONG.format(where=where, why=first["msg"])) from error
    subject = make_phantom(seed=seed).subject if tensor is None else read_subject(tensor, s0)
    return simulate_scan(subject, protocol, noise, faults, seed)


def _write(scan: "SimulatedScan", dataset: Path) -> None:
    from edge_pigment import __version__
    from edge_pigment.outputs.bids import BIDS_VERSION, MAPS, ScanName, as_written, sidecar
    from edge_pigment.outputs.nifti import write_nifti
    from edge_pigment.outputs.staging import DESCRIPTION, GENERATOR
    from edge_pigment.outputs.write import write_dataset_files, write_json
    from edge_pigment.simulate import write_scan

    description = {
        "Name": "Simulated scan of a digital head; no person was scanned",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    write_json(dataset / DESCRIPTION, description)
    name = ScanName.of(write_scan(scan, dataset / SCAN))
    truth = dataset / TRUTH
    (truth / name.folder).mkdir(parents=True)
    write_dataset_files(truth, name, truth)
    maps = {"S0": scan.truth.S0, "FA": scan.truth.FA, "MD": scan.truth.MD * 1e-3}
    maps |= {"tensor": scan.truth.D * 1e-3, "V1": scan.truth.V1}
    for key, data in maps.items():
        path = truth / name.path(f"{MAPS[key].suffix()}.nii.gz")
        write_nifti(path, as_written(key, data, scan.affine), scan.affine, None, f"truth of {key}")
        about = sidecar(MAPS[key]) | {"Simulated": True, "Description": f"Truth: {MAPS[key].description}"}
        write_json(path.with_suffix("").with_suffix(".json"), about)

"""The bundle: a folder with the context network in ONNX, its manifest, and SHA256SUMS over every file.

`sha256sum -c SHA256SUMS` checks it by hand. A bundle that is damaged, incomplete, or made for another contract is
refused before anything of it is used; so is one that a given key did not sign (`signature`).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_pigment import errors as texts
from edge_pigment.alteration import FEATURES, Alteration
from edge_pigment.errors import BundleError
from edge_pigment.prior import features, signature

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
ALTERATION = "alteration.json"
"""The test for altered tissue, see `alteration`; a bundle may lack it."""
SCHEMA = 1
LATENT = "log-s0-sqrt-tensor-1"
"""Name of the latent coordinates z = (log S0, Q), D = Q²."""
SHIPPED = Path(__file__).parent / "bundles" / "tensor"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingScan(_Strict):
    """One scan that the prior learned from."""

    name: str
    source: str
    license: str


class EarlierRun(_Strict):
    """A training run from whose weights another one started."""

    settings: dict[str, float | int | str]
    step: int


class Training(_Strict):
    """How the weights came about."""

    scans: tuple[TrainingScan, ...]
    settings: dict[str, float | int | str]
    step: int
    final_loss: float
    software: dict[str, str]
    earlier: tuple[EarlierRun, ...] = ()
    """Runs from whose weights this one started, the first one first."""


class Manifest(_Strict):
    """What a bundle says of itself."""

    schema_version: int
    name: str
    version: str
    latent: str
    feature_contract: str
    channels: int
    nu: float
    multiply_adds_per_voxel: int
    flavours: dict[str, str]
    training: Training
    verification: dict[str, dict[str, float]]
    accuracy: list[dict[str, Any]]
    limits: tuple[str, ...]
    minimum_versions: dict[str, str]
    reach: int | None = None
    """In-plane voxels from which a prior may depend, either way; what lies beyond a slab's brain is not computed."""
    calibration: dict[str, Any] | None = None
    """Hash, size and sources of the set that the ranges of 8-bit flavours were taken from."""
    gate: dict[str, dict[str, float]] = {}
    """Flavour -> largest error on maps against fp32, by kind; gate.json has every scan."""
    refused: tuple[str, ...] = ()
    """Flavours that were asked for and that the gate did not let in."""
    quantised_layers: dict[str, tuple[str, ...]] = {}
    """8-bit flavour -> layers in 8 bits; the others stay in float, by the table in gate.json."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose every byte has been checked."""

    folder: Path
    manifest: Manifest
    hash: str

    def model(self, flavour: str = "fp32") -> Path:
        """The ONNX file of a flavour.

        Raises:
            BundleError: the bundle lacks the flavour.
        """
        if flavour not in self.manifest.flavours:
            have = ", ".join(sorted(self.manifest.flavours))
            raise BundleError(texts.BUNDLE_FLAVOUR.format(path=self.folder, flavour=flavour, have=have))
        return self.folder / self.manifest.flavours[flavour]

    def alteration(self) -> Alteration | None:
        """The test for altered tissue, None if the bundle has none.

        Raises:
            BundleError: it is for other features than this version computes.
        """
        path = self.folder / ALTERATION
        if not path.is_file():
            return None
        found = Alteration.read(path)
        if found.mean.shape != (FEATURES,):
            why = f"{ALTERATION} is for {len(found.mean)} features, this version has {FEATURES}"
            raise BundleError(texts.BUNDLE_MANIFEST.format(path=self.folder, why=why))
        return found

    def summary(self) -> str:
        """What `edge-pigment info` prints: the model card."""
        m = self.manifest
        lines = [f"{m.name} {m.version}  (bundle {self.hash[:16]})", f"{self.folder}", ""]
        lines.append(f"latent {m.latent}, features {m.feature_contract}, Student-t nu {m.nu:g}")
        lines.append(f"{m.multiply_adds_per_voxel:,} multiply-adds per voxel; flavours {', '.join(m.flavours)}")
        lines += ["", "Learned from"]
        lines += [f"  {s.name}: {s.source} ({s.license})" for s in m.training.scans]
        steps = " + ".join(str(step) for step in (*(run.step for run in m.training.earlier), m.training.step))
        lines.append(f"  {steps} steps, final loss {m.training.final_loss:.3f}")
        if m.accuracy:
            lines += ["", "Measured"]
            plain = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in m.accuracy]
            lines += ["  " + ", ".join(f"{k} {_shown(v)}" for k, v in row.items()) for row in plain]
        if m.gate:
            lines += ["", "Flavours against fp32, on maps (largest error over the verification scans)"]
            lines += [f"  {f}: " + ", ".join(f"{k} {v:.2g}" for k, v in worst.items()) for f, worst in m.gate.items()]
        lines += ["", "Limits"] + [f"  - {limit}" for limit in m.limits]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def sums(folder: Path) -> str:
    """The text of SHA256SUMS for a folder as it is: one line a file, sorted, as sha256sum prints it."""
    apart = (SUMS, signature.SIGNATURE)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in apart)
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in files]
    return "\n".join(lines) + "\n"


def load_bundle(folder: Path | None = None, public_key: Path | None = None) -> Bundle:
    """Open a bundle, the shipped one by default.

    Args:
        folder: of the bundle.
        public_key: whose signature the bundle must carry; None: signatures are not looked at.

    Raises:
        BundleError: missing, damaged, made by a newer schema or for another contract, or not signed by the key.
    """
    folder = SHIPPED if folder is None else Path(folder)
    if not (folder / MANIFEST).is_file() or not (folder / SUMS).is_file():
        raise BundleError(texts.BUNDLE_MISSING.format(path=folder))
    stated = (folder / SUMS).read_bytes()
    actual = sums(folder).encode()
    if stated != actual:
        raise BundleError(texts.BUNDLE_HASH.format(path=folder, files=_differing(stated, actual)))
    if public_key is not None:
        signature.check(folder, actual, public_key)
    raw = json.loads((folder / MANIFEST).read_text("utf-8"))
    if raw.get("schema_version", 0) > SCHEMA:
        raise BundleError(texts.BUNDLE_SCHEMA.format(path=folder, found=raw["schema_version"], known=SCHEMA))
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
        raise BundleError(texts.BUNDLE_MANIFEST.format(path=folder, why=why)) from error
    found = (manifest.latent, manifest.feature_contract, manifest.channels)
    expected = (LATENT, features.CONTRACT, features.CHANNELS)
    if found != expected:
        raise BundleError(texts.BUNDLE_CONTRACT.format(path=folder, found=found, expected=expected))
    missing = [f for f in manifest.flavours.values() if not (folder / f).is_file()]
    if missing:
        raise BundleError(texts.BUNDLE_MANIFEST.format(path=folder, why=f"{missing[0]} is missing"))
    return Bundle(folder, manifest, hashlib.sha256(actual).hexdigest())


def _differing(stated: bytes, actual: bytes) -> str:
    """The files whose lines differ, as far as the damaged list still names them."""
    known = set(stated.decode(errors="replace").splitlines())
    names = [line.split("  ", 1)[1] for line in actual.decode().splitlines() if line not in known]
    return ", ".join(names) or SUMS

"""TensorRT engines: built on the machine that runs them, from the bundle's ONNX, and kept in the user's cache.

An engine fits one TensorRT, one CUDA, one GPU architecture and one range of shapes, so the cache is keyed by all of
them and by the network itself. Calls are those that TensorRT 10.3 (JetPack 6) and 11 share: strongly typed networks,
`OnnxParser`, optimisation profiles, `build_serialized_network`; precision is the graph's own, no flag asks for it.
Nothing is built unless it is asked for: by `edge-pigment build`, or `run --build-engine`. `runner` runs what is here.
"""

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_pigment import errors as texts
from edge_pigment.errors import DeviceError
from edge_pigment.hardware import DriverError, cuda_driver
from edge_pigment.prior.bundle import Bundle
from edge_pigment.prior.context import INPUT
from edge_pigment.prior.features import CHANNELS

CACHE_VARIABLE = "EDGE_PIGMENT_CACHE"
ENGINE, KEY = "engine.plan", "engine.json"
FLAVOURS = ("fp32", "fp16", "int8-trt")
"""Those that TensorRT takes; int8-cpu's unsigned activations and 32-bit biases are not for it."""


@dataclass(frozen=True)
class Profile:
    """Least, usual and largest of the input's slices and in-plane edge (voxels)."""

    slices: tuple[int, int, int] = (1, 4, 16)
    edge: tuple[int, int, int] = (1, 96, 320)

    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Least, usual and largest (B, 45, Y, X)."""
        return [(b, CHANNELS, e, e) for b, e in zip(self.slices, self.edge, strict=True)]


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on."""

    onnx_sha256: str
    tensorrt: str
    cuda: str
    sm: int
    profile: Profile
    precision: str

    @property
    def digest(self) -> str:
        """Name of the cache's entry."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Where engines are kept: $EDGE_PIGMENT_CACHE, or below the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen) / "engines"
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or str(Path.home() / ".cache")
    return Path(home) / "edge-pigment" / "engines"


def load_tensorrt() -> Any:
    """The `tensorrt` module.

    Raises:
        DeviceError: it cannot be imported.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise DeviceError(texts.TENSORRT_MISSING.format(why=error)) from error


def key_here(bundle: Bundle, flavour: str, trt: Any, profile: Profile | None = None) -> EngineKey:
    """The key of an engine for this machine.

    Raises:
        BundleError: the bundle lacks the flavour.
        DeviceError: no GPU, or a flavour that is not for TensorRT.
    """
    if flavour not in FLAVOURS:
        raise DeviceError(texts.ENGINE_FLAVOUR.format(flavour=flavour, known=", ".join(FLAVOURS)))
    content = bundle.model(flavour).read_bytes()
    try:
        driver = cuda_driver()
    except DriverError as error:
        raise DeviceError(texts.ENGINE_NO_GPU.format(why=error)) from error
    if not driver.gpus:
        raise DeviceError(texts.ENGINE_NO_GPU.format(why="the driver sees no GPU"))
    sha = hashlib.sha256(content).hexdigest()
    return EngineKey(sha, trt.__version__, driver.version, driver.gpus[0].sm, profile or Profile(), flavour)


def serialise(onnx: bytes, trt: Any, profile: Profile) -> bytes:
    """Parse a graph and build its engine.

    Args:
        onnx: the file's content.
        trt: the `tensorrt` module (or `tensorrt_rtx`, which has the same calls).
        profile: shapes to build for.

    Raises:
        DeviceError: TensorRT cannot parse or build it; the message is TensorRT's own.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # always on in TensorRT 11, which keeps the flag for such calls as this one
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        why = "; ".join(str(parser.get_error(i).desc()).splitlines()[0] for i in range(parser.num_errors))
        raise DeviceError(texts.ENGINE_REFUSED.format(version=trt.__version__, why=why or "the graph does not parse"))
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    shapes.set_shape(INPUT, *profile.shapes())
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(texts.ENGINE_REFUSED.format(version=trt.__version__, why="the engine cannot be built"))
    return bytes(plan)


def store(key: EngineKey, plan: bytes, folder: Path | None = None) -> Path:
    """Put an engine into the cache, whole or not at all.

    Returns:
        its entry, a folder with the engine and what made it.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    entry = folder / key.digest
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        (staging / ENGINE).write_bytes(plan)
        record = {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}
        (staging / KEY).write_text(json.dumps(record, indent=1) + "\n")
        if entry.exists():
            old = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
            os.replace(entry, old / "entry")
            shutil.rmtree(old)
        os.replace(staging, entry)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return entry


def find(key: EngineKey, folder: Path | None = None) -> bytes:
    """The engine of a key, its hash checked.

    Raises:
        DeviceError: there is none; or only one that another version made; or it is damaged. Each says which command
            makes it anew.
    """
    folder = folder or cache_folder()
    entry = folder / key.digest
    mend = command(key.precision)
    if not (entry / KEY).is_file():
        others = [r["key"] for r in entries(folder) if r["key"]["precision"] == key.precision]
        if not others:
            raise DeviceError(texts.ENGINE_MISSING.format(precision=key.precision, command=mend))
        made = max(others, key=lambda other: sum(other[k] == asdict(key)[k] for k in other))
        raise DeviceError(texts.ENGINE_STALE.format(made=words(made), here=words(key), command=mend))
    try:
        record = json.loads((entry / KEY).read_text("utf-8"))
        plan = (entry / ENGINE).read_bytes()
        whole = record["sha256"] == hashlib.sha256(plan).hexdigest() and _same(record["key"], key)
    except (OSError, ValueError, LookupError, TypeError):
        whole = False
    if not whole:
        raise DeviceError(texts.ENGINE_DAMAGED.format(path=entry, command=mend))
    return plan


def entries(folder: Path | None = None) -> list[dict[str, Any]]:
    """What the cache holds: the record of each readable entry."""
    found = []
    for path in sorted((folder or cache_folder()).glob(f"*/{KEY}")):
        if path.parent.name.startswith("."):
            continue  # an unfinished one
        try:
            record = json.loads(path.read_text("utf-8"))
            words(record["key"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
        found.append(record)
    return found


def _same(stored: Any, key: EngineKey) -> bool:
    return bool(stored == json.loads(json.dumps(asdict(key))))


def command(precision: str) -> str:
    """What builds an engine."""
    return f"edge-pigment build --precision {precision}"


def words(key: "EngineKey | dict[str, Any]") -> str:
    """What an engine was made by and for, as a person reads it."""
    key = asdict(key) if isinstance(key, EngineKey) else key
    return (
        f"TensorRT {key['tensorrt']}, CUDA {key['cuda']}, sm_{key['sm']}, {key['precision']}, "
        f"network {key['onnx_sha256'][:12]}"
    )

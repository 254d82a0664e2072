"""The bundle on disk: built in a temporary folder beside the target, checked by opening it, then moved into place."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import onnx

from edge_pigment.prior.bundle import MANIFEST, SUMS, Bundle, Manifest, load_bundle, sums
from edge_pigment.prior.signature import SIGNATURE, sign


def write_bundle(
    target: Path,
    manifest: Manifest,
    models: dict[str, onnx.ModelProto],
    extra: dict[str, bytes],
    private_key: Path | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        target: folder to make or replace; only a bundle is ever replaced.
        manifest: its `flavours` name the files.
        models: flavour -> ONNX.
        extra: further files by name, e.g. the training log.
        private_key: Ed25519 key (PEM) that signs the bundle; None: it is not signed.

    Raises:
        FileExistsError: target exists and is not a bundle.
        BundleError: the key cannot be used.
    """
    if target.exists() and not (target / MANIFEST).is_file():
        raise FileExistsError(f"{target} exists and is not a bundle; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for flavour, model in models.items():
            (staging / manifest.flavours[flavour]).write_bytes(model.SerializeToString(deterministic=True))
        for name, content in extra.items():
            (staging / name).write_bytes(content)
        (staging / MANIFEST).write_text(json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False) + "\n")
        listed = sums(staging)
        (staging / SUMS).write_text(listed)
        if private_key:
            (staging / SIGNATURE).write_bytes(sign(listed.encode(), private_key))
        load_bundle(staging)
        staging.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            os.replace(target, old / "bundle")
            os.replace(staging, target)
            shutil.rmtree(old)
        else:
            os.replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return load_bundle(target)

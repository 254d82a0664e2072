"""Who made a bundle: an optional Ed25519 signature (RFC 8032) of its SHA256SUMS, and so of every file.

The signature is 64 bytes beside the list, keys are PEM files, and the library is `cryptography` (the `sign` extra),
which is imported only when a key is given. OpenSSL makes keys, and checks the same signature:

    openssl genpkey -algorithm ed25519 -out vendor.pem
    openssl pkey -in vendor.pem -pubout -out vendor.pub
    openssl pkeyutl -verify -pubin -inkey vendor.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
"""

import importlib
from pathlib import Path
from typing import Any

from edge_pigment import errors as texts
from edge_pigment.errors import BundleError

SIGNATURE = "SHA256SUMS.sig"


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"cryptography.{module}")
    except ImportError as error:
        raise BundleError(texts.SIGNATURE_LIBRARY.format(why=error)) from error


def _key(path: Path, kind: str) -> Any:
    """A key of a PEM file.

    Raises:
        BundleError: no such file, or no Ed25519 key of this kind in it.
    """
    serialisation = _library("hazmat.primitives.serialization")
    ed25519 = _library("hazmat.primitives.asymmetric.ed25519")
    try:
        content = path.read_bytes()
        if kind == "public":
            key, expected = serialisation.load_pem_public_key(content), ed25519.Ed25519PublicKey
        else:
            key, expected = serialisation.load_pem_private_key(content, None), ed25519.Ed25519PrivateKey
    except Exception as error:  # ValueError, TypeError, UnsupportedAlgorithm, OSError: each says why
        raise BundleError(texts.KEY_UNREADABLE.format(path=path, kind=kind, why=_first_line(error))) from error
    if not isinstance(key, expected):
        raise BundleError(texts.KEY_UNREADABLE.format(path=path, kind=kind, why=f"it is a {type(key).__name__}"))
    return key


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def sign(content: bytes, private_key: Path) -> bytes:
    """The signature of a SHA256SUMS.

    Raises:
        BundleError: no `cryptography`, or no such key.
    """
    return bytes(_key(private_key, "private").sign(content))


def check(folder: Path, content: bytes, public_key: Path) -> None:
    """Hold a bundle's signature against a key.

    Args:
        folder: of the bundle.
        content: of its SHA256SUMS.
        public_key: PEM.

    Raises:
        BundleError: no `cryptography`, no such key, no signature, or another one.
    """
    key = _key(public_key, "public")
    try:
        signature = (folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise BundleError(texts.SIGNATURE_MISSING.format(path=folder, name=SIGNATURE)) from error
    try:
        key.verify(signature, content)
    except _library("exceptions").InvalidSignature as error:
        raise BundleError(texts.SIGNATURE_WRONG.format(path=folder, key=public_key)) from error

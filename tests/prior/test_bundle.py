"""A bundle is refused, in one clear line, if anything about it is not right."""

import json
import re
import shutil

import numpy as np
import pytest

from edge_pigment import errors as texts
from edge_pigment.errors import BundleError
from edge_pigment.prior.bundle import MANIFEST, SHIPPED, SUMS, load_bundle, sums


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    return folder


def matching(text):
    """A pattern for a named text, its fields left open."""
    return ".*".join(re.escape(part) for part in re.split(r"{[^}]*}", text))


def edit_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SUMS).write_text(sums(folder))


def test_the_shipped_bundle_opens_and_describes_itself():
    bundle = load_bundle()
    assert bundle.model("fp32").is_file()
    card = bundle.summary()
    for scan in bundle.manifest.training.scans:
        assert scan.name in card
        assert scan.license in card
    assert all(limit in card for limit in bundle.manifest.limits)


def test_any_flipped_byte_is_refused(copy):
    rng = np.random.default_rng(0)
    files = sorted(p for p in copy.iterdir())
    sizes = np.array([p.stat().st_size for p in files])
    offsets = rng.integers(0, sizes.sum(), 200)
    for offset in [*offsets, *(np.cumsum(sizes) - sizes)]:  # and the first byte of each file
        index = int(np.searchsorted(np.cumsum(sizes), offset, side="right"))
        path, at = files[index], int(offset - (np.cumsum(sizes) - sizes)[index])
        original = path.read_bytes()
        damaged = bytearray(original)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=matching(texts.BUNDLE_HASH)):
            load_bundle(copy)
        path.write_bytes(original)
    load_bundle(copy)


def test_a_damaged_file_is_named(copy):
    with (copy / "context.fp32.onnx").open("ab") as f:
        f.write(b"x")
    with pytest.raises(BundleError, match=r"context\.fp32\.onnx does not match"):
        load_bundle(copy)


def test_a_missing_or_extra_file_is_refused(copy):
    (copy / "stray").write_text("")
    with pytest.raises(BundleError, match="stray"):
        load_bundle(copy)
    (copy / "stray").unlink()
    (copy / SUMS).unlink()
    with pytest.raises(BundleError, match=matching(texts.BUNDLE_MISSING)):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schema_version": 99}, texts.BUNDLE_SCHEMA),
        ({"latent": "cholesky"}, texts.BUNDLE_CONTRACT),
        ({"channels": 3}, texts.BUNDLE_CONTRACT),
        ({"nu": "wide"}, texts.BUNDLE_MANIFEST),
        ({"surprise": 1}, texts.BUNDLE_MANIFEST),
        ({"flavours": {"fp32": "nowhere.onnx"}}, texts.BUNDLE_MANIFEST),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, changes, text):
    edit_manifest(copy, **changes)
    with pytest.raises(BundleError, match=matching(text)):
        load_bundle(copy)


def test_a_missing_flavour_is_named(copy):
    with pytest.raises(BundleError, match=matching(texts.BUNDLE_FLAVOUR)):
        load_bundle(copy).model("fp4")

"""A bundle's signature is checked when a key is given, and only then."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

pytest.importorskip("cryptography", reason="the sign extra is not installed")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.cli import app
from edge_pigment.errors import BundleError
from edge_pigment.prior import signature
from edge_pigment.prior.bundle import MANIFEST, SHIPPED, SUMS, load_bundle, sums
from edge_pigment.prior.signature import SIGNATURE, sign


def write_keys(folder, name, key=None):
    key = key or ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path):
    """A signed bundle and the key that it was signed with."""
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    private, public = write_keys(tmp_path, "vendor")
    (folder / SIGNATURE).write_bytes(sign((folder / SUMS).read_bytes(), private))
    return folder, public


def test_the_right_key_opens_it_and_none_is_needed(signed):
    folder, public = signed
    assert load_bundle(folder, public).hash == load_bundle(folder).hash == load_bundle().hash
    told = CliRunner().invoke(app, ["info", str(folder), "--public-key", str(public)])
    assert told.exit_code == 0
    assert f"Signed by {public}" in told.output


def test_another_key_is_refused_in_one_line(signed, tmp_path, write_scan):
    folder, _ = signed
    _, other = write_keys(tmp_path, "other")
    with pytest.raises(BundleError, match=r"was not signed by the key .*other\.pub"):
        load_bundle(folder, other)
    choice = ["--bundle", str(folder), "--public-key", str(other)]
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(app, ["run", str(write_scan()), "-o", str(tmp_path / "maps"), *choice, *more])
        assert result.exit_code == 2
        assert "was not signed by the key" in result.output
        assert result.output.count("error:") == 1
        assert not (tmp_path / "maps").exists()


def test_a_bundle_that_was_changed_and_summed_anew_is_refused(signed):
    folder, public = signed
    manifest = json.loads((folder / MANIFEST).read_text()) | {"nu": 7.0}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SUMS).write_text(sums(folder))
    assert load_bundle(folder).manifest.nu == 7.0, "hashes alone do not say who made it"
    with pytest.raises(BundleError, match="was not signed by the key"):
        load_bundle(folder, public)


@pytest.mark.parametrize("damage", [b"", b"short", bytes(64)])
def test_a_damaged_signature_is_refused(signed, damage):
    folder, public = signed
    (folder / SIGNATURE).write_bytes(damage)
    with pytest.raises(BundleError, match="was not signed by the key"):
        load_bundle(folder, public)


def test_an_unsigned_bundle_is_refused_if_a_key_is_given(signed):
    folder, public = signed
    (folder / SIGNATURE).unlink()
    with pytest.raises(BundleError, match=r"is not signed \(no SHA256SUMS\.sig\)"):
        load_bundle(folder, public)


def test_what_is_no_ed25519_key_is_refused(signed, tmp_path):
    folder, public = signed
    private, elliptic = write_keys(tmp_path, "ec", ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "text.pub").write_text("no key")
    for key in (elliptic, tmp_path / "text.pub", tmp_path / "missing.pub"):
        with pytest.raises(BundleError, match="holds no public Ed25519 key"):
            load_bundle(folder, key)
    for key in (private, public):
        with pytest.raises(BundleError, match="holds no private Ed25519 key"):
            sign(b"", key)


def test_without_the_library_the_mend_is_told(signed, monkeypatch):
    folder, public = signed
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(BundleError, match=opening(texts.SIGNATURE_LIBRARY)):
        load_bundle(folder, public)
    load_bundle(folder)


def test_openssl_checks_the_same_signature(signed):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder, public = signed
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", folder / SUMS]
    done = subprocess.run([*verify, "-sigfile", folder / SIGNATURE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout


def test_the_exporter_signs(tmp_path, signed):
    pytest.importorskip("onnx", reason="the workshop extra is not installed")
    import onnx

    from edge_pigment_export.write import write_bundle

    shipped = load_bundle()
    manifest = shipped.manifest.model_copy(update={"flavours": {"fp32": "context.fp32.onnx"}})
    models = {"fp32": onnx.load(shipped.model())}
    write_bundle(tmp_path / "made", manifest, models, {}, tmp_path / "vendor.pem")
    load_bundle(tmp_path / "made", tmp_path / "vendor.pub")
    assert signature.SIGNATURE not in (tmp_path / "made" / SUMS).read_text()
    with pytest.raises(BundleError, match="private"):
        write_bundle(tmp_path / "not", manifest, models, {}, tmp_path / "vendor.pub")
    assert not (tmp_path / "not").exists()

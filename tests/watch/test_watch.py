"""A scan that arrives in pieces: whatever the order and the accidents, the maps are those of the whole."""

import json
import urllib.request
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.cli import app
from edge_pigment.cli.watch import _in_words
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable, fsl_signs
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.precision import Precision
from edge_pigment.watch import Folder, forecast
from edge_pigment.watch.outlook import expected
from edge_pigment.watch.serve import serve
from edge_pigment.watch.watcher import Watcher

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def acquisition():
    """Noise with a gradient table, 12 x 11 x 10 voxels, 1 + 6 volumes."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal((7, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    g[0] = 0
    signal = rng.integers(1, 1000, (12, 11, 10, 7)).astype(np.float32)
    return Acquisition(signal, GradientTable(np.r_[0, np.full(6, 1000.0)], g), AFFINE)


def put(folder, acquisition, n, name=None, suffix=".nii.gz"):
    """One volume as a file with its tables."""
    stem = folder / (name or f"vol-{n}")
    nib.save(nib.Nifti1Image(acquisition.signal[..., n], acquisition.affine), f"{stem}{suffix}")
    bvec = acquisition.gradients.bvecs[n] * fsl_signs(acquisition.affine)
    stem.with_name(f"{stem.name}.bval").write_text(f"{acquisition.gradients.bvals[n]:g}\n")
    stem.with_name(f"{stem.name}.bvec").write_text("\n".join(f"{v:.8f}" for v in bvec))
    return stem.with_name(f"{stem.name}{suffix}")


def fake_run(acquisition, options, tools=None):
    """Maps that only know how many volumes there were."""
    n = len(acquisition.gradients)
    shape = acquisition.signal.shape[:3]
    values = {"FA": 0.5, "MD": 8e-4, "FA_sd": 0.3 / np.sqrt(n), "MD_sd": 1e-4, "datashare": 0.5}
    maps = {name: np.full(shape, value, np.float32) for name, value in values.items()}
    return SimpleNamespace(maps=maps, mask=np.ones(shape, bool), provenance={}, warnings=())


def same(arrived, acquisition):
    np.testing.assert_array_equal(arrived.acquisition.signal, acquisition.signal)
    np.testing.assert_allclose(arrived.acquisition.gradients.bvecs, acquisition.gradients.bvecs, atol=1e-6)
    np.testing.assert_array_equal(arrived.acquisition.gradients.bvals, acquisition.gradients.bvals)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_in_any_order_are_the_scan(tmp_path, acquisition, suffix):
    folder = Folder(tmp_path)
    for n in (3, 0, 6, 5, 1, 2, 4):
        put(tmp_path, acquisition, n, suffix=suffix)
        folder.look()
    same(folder.look(), acquisition)
    same(Folder(tmp_path).look(), acquisition)  # after a restart


def test_numbers_in_names_are_numbers(tmp_path, acquisition):
    for n in range(7):
        put(tmp_path, acquisition, n, f"vol-{n + 7}")  # 7, 8, ... 13
    same(Folder(tmp_path).look(), acquisition)


def test_a_volume_sent_twice_counts_once(tmp_path, acquisition):
    for n in range(7):
        put(tmp_path, acquisition, n)
    put(tmp_path, acquisition, 3, "vol-9")
    arrived = Folder(tmp_path).look()
    assert arrived.repeats == ("vol-9.nii.gz volume 0",)
    same(arrived, acquisition)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_half_written_file_waits(tmp_path, acquisition, suffix, share):
    folder = Folder(tmp_path)
    for n in range(6):
        put(tmp_path, acquisition, n, suffix=suffix)
    path = put(tmp_path, acquisition, 6, suffix=suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    arrived = folder.look()
    assert arrived.count == 6
    assert len(arrived.waiting) == 1
    path.write_bytes(whole)
    same(folder.look(), acquisition)


def test_a_volume_waits_for_its_direction(tmp_path, acquisition):
    for n in range(7):
        put(tmp_path, acquisition, n)
    bvec = tmp_path / "vol-6.bvec"
    whole = bvec.read_text()
    for part in (None, "", "0.1\n", "0.1 0.2 zz"):
        if part is None:
            bvec.unlink()
        else:
            bvec.write_text(part)
        assert Folder(tmp_path).look().count == 6
    bvec.write_text(whole)
    same(Folder(tmp_path).look(), acquisition)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_image_that_grows(tmp_path, acquisition, suffix):
    path = tmp_path / f"scan{suffix}"
    nib.save(nib.Nifti1Image(acquisition.signal, AFFINE), path)
    acquisition.gradients.write_fsl(tmp_path / "scan.bval", tmp_path / "scan.bvec", AFFINE)
    whole, folder, counts = path.read_bytes(), Folder(tmp_path), []
    for share in np.linspace(0, 1, 12):
        path.write_bytes(whole[: int(share * len(whole))])
        counts.append(folder.look().count)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 0 < counts[6] < 7
    same(folder.look(), acquisition)


def test_room_made_beforehand_is_no_volume(tmp_path, acquisition):
    signal = acquisition.signal.copy()
    signal[..., 4:] = 0
    nib.save(nib.Nifti1Image(signal, AFFINE), tmp_path / "scan.nii")
    acquisition.gradients.write_fsl(tmp_path / "scan.bval", tmp_path / "scan.bvec", AFFINE)
    same(Folder(tmp_path).look(), acquisition.subset([0, 1, 2, 3]))


def test_two_scans_in_one_folder_are_refused(tmp_path, acquisition):
    put(tmp_path, acquisition, 0)
    other = Acquisition(acquisition.signal[1:], acquisition.gradients, AFFINE)
    put(tmp_path, other, 1, "z")
    with pytest.raises(InputError, match="another grid"):
        Folder(tmp_path).look()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.93])
def test_a_volume_half_written_into_its_room_waits(tmp_path, acquisition, share):
    signal = acquisition.signal.copy(order="F")
    flat = signal[..., 4].reshape(-1, order="F")
    flat[int(share * flat.size) :] = 0
    signal[..., 4] = flat.reshape(signal.shape[:3], order="F")
    signal[..., 5:] = 0
    nib.save(nib.Nifti1Image(signal, AFFINE), tmp_path / "scan.nii")
    acquisition.gradients.write_fsl(tmp_path / "scan.bval", tmp_path / "scan.bvec", AFFINE)
    same(Folder(tmp_path).look(), acquisition.subset([0, 1, 2, 3]))


def at(acquisition, affine):
    return Acquisition(acquisition.signal, acquisition.gradients, affine)


def test_a_header_that_follows_the_head_is_one_scan(tmp_path, acquisition):
    for n in range(7):
        nod = nib.eulerangles.euler2mat(x=0.01 * n) @ AFFINE[:3, :3]
        put(tmp_path, at(acquisition, nib.affines.from_matvec(nod, [0.3 * n, 0, 0])), n)
    arrived = Folder(tmp_path).look().acquisition
    np.testing.assert_array_equal(arrived.signal, acquisition.signal)
    np.testing.assert_array_equal(arrived.affine, AFFINE)
    (warning,) = arrived.warnings
    assert warning.startswith(texts.WATCH_MOVING.split("{")[0])


def test_rounding_of_headers_is_not_told(tmp_path, acquisition):
    for n in range(7):
        put(tmp_path, at(acquisition, AFFINE + 1e-3 * n * np.eye(4)[[3, 0, 1, 2]].T * [[0, 0, 0, 1]] * 0.5), n)
    arrived = Folder(tmp_path).look().acquisition
    np.testing.assert_array_equal(arrived.signal, acquisition.signal)
    assert arrived.warnings == ()


@pytest.mark.parametrize(
    "affine",
    [
        AFFINE @ np.diag([1.1, 1, 1, 1]),
        AFFINE @ np.diag([-1, 1, 1, 1]),
        AFFINE + 50 * np.eye(4)[:, [3, 1, 2, 0]] * [[0, 0, 0, 1]] * [[1], [0], [0], [0]],
    ],
)
def test_another_scan_of_the_same_shape_is_refused(tmp_path, acquisition, affine):
    put(tmp_path, acquisition, 0)
    put(tmp_path, at(acquisition, affine), 1)
    with pytest.raises(InputError, match="another grid"):
        Folder(tmp_path).look()


def test_images_without_tables_are_passed_over_and_said_once(tmp_path, acquisition):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "t1.nii.gz")
    (tmp_path / "map.nii").write_bytes(b"anything")
    for n in range(3):
        put(tmp_path, acquisition, n)
    watcher = Watcher(tmp_path, 0.1, runner=fake_run)
    update = watcher.look()
    assert update.volumes == 3
    assert update.waiting == ()
    assert update.passed_over == ("map.nii", "t1.nii.gz")
    put(tmp_path, acquisition, 4)
    assert watcher.look().passed_over == ()
    assert "is passed over" in "\n".join(_in_words(update))


@pytest.mark.parametrize("late", ["nan nan nan", "0 0 0"])
def test_a_direction_that_is_not_known_yet_makes_no_trace_image(tmp_path, acquisition, late):
    for n in range(7):
        put(tmp_path, acquisition, n)
    bvec = tmp_path / "vol-6.bvec"
    whole = bvec.read_text()
    bvec.write_text(late.replace(" ", "\n"))
    arrived = Folder(tmp_path).look()
    same(arrived, acquisition.subset(range(6)))
    assert arrived.waiting[0].startswith("vol-6.nii.gz: volume 0")
    bvec.write_text(whole)
    same(Folder(tmp_path).look(), acquisition)


def test_a_low_b_needs_no_direction(tmp_path, acquisition):
    bvals = np.r_[60.0, acquisition.gradients.bvals[1:]]
    low = Acquisition(acquisition.signal, GradientTable(bvals, acquisition.gradients.bvecs), AFFINE)
    for n in range(7):
        put(tmp_path, low, n)
    same(Folder(tmp_path).look(), low)


def test_nothing_but_unknown_directions_waits(tmp_path, acquisition):
    nib.save(nib.Nifti1Image(acquisition.signal, AFFINE), tmp_path / "scan.nii")
    acquisition.gradients.write_fsl(tmp_path / "scan.bval", tmp_path / "scan.bvec", AFFINE)
    (tmp_path / "scan.bvec").write_text("\n".join(["0 " + "nan " * 6] * 3))
    update = Watcher(tmp_path, 0.1, runner=fake_run).look()
    assert update.note == "waiting for a diffusion-weighted volume"
    assert update.waiting == ("scan.nii: volume 1, 2, 3, 4, 5, 6: no b-value and direction in numbers yet",)


def test_volumes_with_slopes_of_their_own(tmp_path, acquisition):
    for n in range(7):
        path = put(tmp_path, acquisition, n, suffix=".nii")
        raw = bytearray(path.read_bytes())
        slope = 1 + 0.25 * n
        stored = (acquisition.signal[..., n] / slope).astype("<f4")
        raw[112:120] = np.array([slope, 0], "<f4").tobytes()
        path.write_bytes(bytes(raw[:352]) + stored.tobytes("F"))
    np.testing.assert_allclose(Folder(tmp_path).look().acquisition.signal, acquisition.signal, rtol=1e-6)


def test_a_file_that_goes_away_between_two_looks(tmp_path, acquisition):
    for n in range(3):
        put(tmp_path, acquisition, n)
    folder = Folder(tmp_path)
    assert folder.look().count == 3
    (tmp_path / "vol-1.nii.gz").unlink()
    assert folder.look().count == 2
    for path in tmp_path.iterdir():
        path.unlink()
    assert folder.look().count == 0
    tmp_path.rmdir()
    with pytest.raises(InputError, match="no folder"):
        folder.look()
    tmp_path.mkdir()


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        Folder(tmp_path / "none")


def test_updates_only_when_something_is_new(tmp_path, acquisition):
    watcher = Watcher(tmp_path, 0.15, runner=fake_run)
    assert watcher.look().note == "no volume yet"
    put(tmp_path, acquisition, 2)
    assert "b=0" in watcher.look().note
    put(tmp_path, acquisition, 0)
    update = watcher.look()
    assert (update.volumes, update.b0s) == (2, 1)
    assert not update.forecast.stop
    assert watcher.look() is None
    (tmp_path / "vol-5.nii.gz").write_bytes(b"half")
    assert watcher.look() is None
    for n in (1, 3, 4, 5, 6):
        put(tmp_path, acquisition, n)
    update = watcher.look()
    assert update.precision.white_fa_sd == pytest.approx(0.3 / np.sqrt(7), rel=1e-5)
    assert update.forecast.reached
    assert update.forecast.stop
    assert len(watcher.history) == 4


def test_the_forecast_stops_when_data_help_no_more():
    def at(sd, share):
        return forecast(Precision(sd, sd, 1e-4, 1e-4, share), 0.03)

    assert at(0.029, 0.5).reached
    assert not at(0.036, 0.5).stop
    assert at(0.036, 0.01).stop  # twice the data would not be felt
    assert at(0.2, 0.9).stop  # far out of reach
    assert at(0.036, 0.5).factor == pytest.approx(1.7, abs=0.1)
    assert expected(0.1, 1.0, 4) == pytest.approx(0.05)
    assert np.isnan(forecast(Precision(*[np.nan] * 5), 0.03).doubled)


def test_the_page_is_served_on_this_machine_only():
    server = serve(lambda: [{"volumes": 3, "white_fa_sd": float("nan")}], 0.03, 0)
    try:
        address, port = server.server_address
        assert address == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/state.json", timeout=5) as answer:
            assert json.load(answer) == {"target": 0.03, "history": [{"volumes": 3, "white_fa_sd": None}]}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            assert b"Precision while scanning" in answer.read()
        with pytest.raises(InputError, match=texts.WATCH_PORT.split("{")[0]):
            serve(lambda: [], 0.03, port)
    finally:
        server.shutdown()
        server.server_close()


def test_the_maps_are_those_of_a_run_on_the_same_volumes(tmp_path, acquisition):
    whole = acquisition
    feed, batch = tmp_path / "feed", tmp_path / "batch.nii"
    feed.mkdir()
    for n in (5, 0, 3, 1, 2):
        put(feed, whole, n)
    some = whole.subset([0, 1, 2, 3, 5])
    nib.save(nib.Nifti1Image(some.signal, some.affine), batch)
    some.gradients.write_fsl(batch.with_suffix(".bval"), batch.with_suffix(".bvec"), some.affine)
    watcher = Watcher(feed, 0.03, RunOptions(threads=1))
    assert watcher.look().volumes == 5
    expected_maps = run(read_acquisition(batch), RunOptions(threads=1)).maps
    np.testing.assert_allclose(watcher.result.maps["FA"], expected_maps["FA"], atol=1e-4)
    np.testing.assert_allclose(watcher.result.maps["MD"], expected_maps["MD"], atol=1e-7)


def test_the_command_looks_once(tmp_path, acquisition, monkeypatch):
    monkeypatch.setattr("edge_pigment.watch.watcher.run", fake_run)
    monkeypatch.setattr("edge_pigment.watch.watcher.Watcher.runner", staticmethod(fake_run))
    done = CliRunner().invoke(app, ["watch", str(tmp_path), "--once"])
    assert done.exit_code == 0
    assert "no volume yet" in done.output
    assert CliRunner().invoke(app, ["watch", str(tmp_path / "none"), "--once"]).exit_code == 2
    assert CliRunner().invoke(app, ["watch", str(tmp_path), "--target-fa-sd", "0"]).exit_code == 2
    for option, value in (("--interval", "nan"), ("--interval", "-1"), ("--interval", "inf"), ("--port", "70000")):
        done = CliRunner().invoke(app, ["watch", str(tmp_path), "--once", option, value])
        assert done.exit_code == 2
        assert option in done.stderr

"""The command line besides `run`."""

import importlib
import json
import re
import subprocess
import sys
import types

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import opening
from edge_pigment import __version__
from edge_pigment import errors as texts
from edge_pigment.acquisition import find_bids, read_acquisition
from edge_pigment.cli import app

HEAVY = ("numpy", "nibabel", "onnxruntime", "PIL", "rich", "torch", "dipy", "scipy")


def typed(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["demo", "-h"]])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv[0] = 'edge-pigment'\n"
        "from edge_pigment.cli import main\n"
        "try: main()\n"
        "finally: print('LOADED', *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "LOADED" in loaded
    assert not loaded & set(HEAVY)


def test_version():
    assert typed("--version").stdout == f"edge-pigment {__version__}\n"


def test_every_verb_is_listed():
    listed = typed("--help").stdout
    for name in ("run", "demo", "simulate", "info", "doctor", "build", "export"):
        assert re.search(rf"^  {name} +\w", listed, re.MULTILINE), name
    assert "..." not in listed.split("Commands:")[1], "the first sentence of a verb's help must fit its line"


def test_demo(monkeypatch, tmp_path):
    asked = []

    def run_demo(output, seed, progress, **_):
        progress("scan")
        asked.append((output, seed))
        return types.SimpleNamespace(table="FA 0.1", figure=tmp_path / "picture.png", json={"FA": 0.1})

    monkeypatch.setitem(sys.modules, "edge_pigment.demo", types.SimpleNamespace(run_demo=run_demo))
    result = typed("demo", "-o", tmp_path / "out", "--seed", 3)
    assert result.stdout == f"FA 0.1\n\nPicture: {tmp_path / 'picture.png'}\n"
    assert result.stderr == "demo: scan\n"
    assert json.loads(typed("demo", "-o", tmp_path / "out", "--json").stdout) == {"FA": 0.1}
    assert asked == [(tmp_path / "out", 3), (tmp_path / "out", 0)]


def test_info_of_a_missing_bundle(tmp_path):
    result = typed("info", tmp_path)
    assert result.exit_code == 2
    assert re.search(opening(texts.BUNDLE_MISSING), result.stderr)


def test_info(monkeypatch):
    manifest = types.SimpleNamespace(model_dump=lambda mode: {"name": "made-up"})
    bundle = types.SimpleNamespace(folder="here", hash="abc", manifest=manifest, summary=lambda: "a summary")
    monkeypatch.setattr("edge_pigment.prior.bundle.load_bundle", lambda *_: bundle)
    assert typed("info").stdout == "a summary\n"
    assert json.loads(typed("info", "--json").stdout) == {
        "bundle": "here",
        "sha256": "abc",
        "name": "made-up",
    }


@pytest.mark.parametrize("missing", ["torch", "onnx", "edge_pigment_export"])
def test_export_without_the_workshop(monkeypatch, missing):
    def import_module(name):
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setattr(importlib, "import_module", import_module)
    result = typed("export", "run", "-o", "bundle")
    assert result.exit_code == 1
    assert result.stderr == f"edge-pigment: error: {texts.WORKSHOP_MISSING.format(why=f'no module {missing}')}\n"


def test_export_hands_everything_to_the_workshop(monkeypatch):
    asked = []

    def export(run: str, output: str = "-", flavour: str = "-") -> None:
        asked.append((run, output, flavour))

    monkeypatch.setattr(importlib, "import_module", lambda name: types.SimpleNamespace(export=export))
    assert typed("export", "runs/1", "--output", "bundle", "--flavour", "int8").exit_code == 0
    assert asked == [("runs/1", "bundle", "int8")]
    assert "--flavour" in typed("export", "--help").stdout
    assert typed("export").exit_code == 2


@pytest.fixture
def small_head(monkeypatch):
    """A phantom that is quick to scan: a box of one tensor, its long axis along x."""
    from edge_pigment.simulate import Subject

    def make_phantom(**_):
        S0 = np.zeros((16, 16, 10))
        S0[3:13, 3:13, 2:8] = 1
        D = np.broadcast_to([1.7, 0.3, 0.3, 0, 0, 0], (*S0.shape, 6))
        return types.SimpleNamespace(subject=Subject.from_tensor(S0, D, np.diag([1.25, 1.25, 1.25, 1])))

    monkeypatch.setattr("edge_pigment.phantom.make_phantom", make_phantom)


def test_simulate(small_head, tmp_path):
    out = tmp_path / "out"
    result = typed("simulate", "-o", out, "--voxel", 2.5, 2.5, 2.5, "--directions", 12, "--snr", 1000)
    assert result.exit_code == 0, result.output
    scan = read_acquisition(find_bids(out)[0])
    assert scan.signal.shape == (8, 8, 5, 13)
    folder = out / "derivatives/truth/sub-phantom/dwi"
    tensor = nib.load(folder / "sub-phantom_model-tensor_param-diffusivity_dwimap.nii.gz").get_fdata()
    np.testing.assert_allclose(tensor[4, 4, 2], [1.7e-3, 0, 0, 0.3e-3, 0, 0.3e-3], atol=2e-5)
    assert typed("simulate", "-o", out).exit_code == 2


def test_simulate_with_settings(small_head, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text('{"protocol": {"b0": 2, "shells": [{"b": 700, "directions": 4}, {"b": 2000}]}}')
    assert typed("simulate", "-o", tmp_path / "out", "--settings", settings).exit_code == 0
    bvals = np.loadtxt(tmp_path / "out/sub-phantom/dwi/sub-phantom_dwi.bval")
    np.testing.assert_array_equal(bvals, [0, 0] + [700] * 4 + [2000] * 6)


@pytest.mark.parametrize("content", ["", "[]", '{"protocol": 3}', '{"scanner": {}}', '{"noise": {"snr": -1}}'])
def test_settings_that_make_no_sense(tmp_path, content):
    settings = tmp_path / "settings.json"
    settings.write_text(content)
    result = typed("simulate", "-o", tmp_path / "out", "--settings", settings)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("edge-pigment: error: The setting")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("directions", ["0"]),
        ("directions", ["100000"]),
        ("b", ["0"]),
        ("b", ["inf"]),
        ("b", ["1e300"]),
        ("b0", ["-1"]),
        ("b0", ["1000000"]),
        ("voxel", ["0", "2", "2"]),
        ("voxel", ["inf", "2", "2"]),
        ("voxel", ["1e-9", "2", "2"]),
        ("snr", ["nan"]),
        ("snr", ["1e-300"]),
        ("seed", ["-1"]),
    ],
)
def test_what_cannot_be_simulated(small_head, tmp_path, option, values):
    result = typed("simulate", "-o", tmp_path / "out", f"--{option}", *values)
    assert result.exit_code == 2
    assert option in result.stderr
    assert "fault of edge-pigment" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_simulate_without_noise(small_head, tmp_path):
    arguments = ("--snr", "inf", "--directions", 1, "--b0", 0, "--voxel", 2.5, 2.5, 2.5)
    assert typed("simulate", "-o", tmp_path / "out", *arguments).exit_code == 0

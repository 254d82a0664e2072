"""The gate lets nothing through that moves maps; the exporter writes nothing that the gate refuses."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

import small
from typer.testing import CliRunner

from edge_pigment.agreement import LIMITS, covered
from edge_pigment.prior.bundle import load_bundle
from edge_pigment_export import __main__ as exporter
from edge_pigment_export.gate import Gate, Verdict, report, table
from edge_pigment_export.layers import Layer, choose
from edge_pigment_export.make import asked, make


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """fp32.onnx, and a copy whose last layer is off by a little."""
    folder = tmp_path_factory.mktemp("gate")
    model = small.model()
    onnx.save(model, folder / "fp32.onnx")
    for initialiser in model.graph.initializer:
        if initialiser.name == "head.5.bias":
            off = onnx.numpy_helper.to_array(initialiser) + np.float32(0.02)
            initialiser.CopyFrom(onnx.numpy_helper.from_array(off, initialiser.name))
    onnx.save(model, folder / "off.onnx")
    return folder


@pytest.fixture(scope="module")
def gate(files):
    return Gate([small.scan()], files / "fp32.onnx", 5.0)


def row(**errors):
    return {"scan": "x", "SNR": 5.0, "voxels": 1} | dict.fromkeys(LIMITS, 0.0) | errors


def test_fp32_differs_from_itself_by_nothing(gate, files):
    verdict = gate.judge("again", files / "fp32.onnx")
    # the angle between equal unit vectors in float32 is known to about the root of their rounding
    assert all(value <= (0.05 if key == "V1_median_deg" else 0) for key, value in verdict.worst.items())
    assert verdict.passed


def test_a_network_that_is_off_is_refused(gate, files):
    verdict = gate.judge("off", files / "off.onnx")
    assert not verdict.passed
    assert verdict.load > 1
    assert "refused" in table([verdict])
    assert not report([verdict])["flavours"]["off"]["passed"]


@pytest.mark.parametrize("key", LIMITS)
def test_each_limit_counts_in_every_scan(key):
    assert Verdict("x", (row(), row(**{key: LIMITS[key]}))).passed
    assert not Verdict("x", (row(**{key: 1.001 * LIMITS[key]}), row())).passed
    assert not Verdict("x", (row(), row(**{key: float("nan")}))).passed
    assert not Verdict("x", (row(**{key: float("nan")}), row())).passed


def test_coverage_counts_intervals_that_hold_the_truth():
    maps = {"FA": np.array([0.5, 0.5, 0.5]), "FA_sd": np.array([0.1, 0.1, 0.01])}
    assert covered(maps, "FA", np.array([0.6, 0.7, 0.5])) == pytest.approx(2 / 3)


def test_layers_are_chosen_by_work_for_error_until_the_gate_lets_them_through():
    def layer(name, share, load):
        return Layer(name, share, Verdict("x", (row(FA_MAE=load * LIMITS["FA_MAE"]),)))

    found = [layer("a", 0.4, 0.5), layer("b", 0.3, 0.3), layer("c", 0.2, 0.6), layer("d", 0.1, 1.5)]
    assert choose(found, lambda names: True) == ["a", "b", "c"], "0.25 + 0.09 + 0.36 < 1; d alone is too much"
    assert choose(found, lambda names: "c" not in names) == ["a", "b"]
    assert choose(found, lambda names: len(names) < 3) == ["a", "b"]
    assert choose(found, lambda names: not {"b", "c"} <= set(names)) == ["a", "b"]
    assert choose(found, lambda names: "b" not in names) == [], "b is worth most, and is never given up alone"
    found = [layer("a", 0.5, 0.8), layer("b", 0.3, 0.7), layer("c", 0.2, 0.6)]
    assert choose(found, lambda names: True) == ["a", "b", "c"], "what the first guess left out is tried again"
    assert choose(found, lambda names: False) == []


def test_precisions_stand_for_flavours():
    assert asked("fp32,fp16,int8") == ["fp32", "fp16", "int8-cpu", "int8-trt"]
    assert asked("int8-cpu") == ["fp32", "int8-cpu"]
    with pytest.raises(ValueError, match="fp4"):
        asked("fp4")


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """A function that runs the exporter on the shipped network and the small scan."""
    from edge_pigment_export import graph, make, verification, verify
    from edge_pigment_prior.network import ContextPrior
    from edge_pigment_prior.train import CHECKPOINT, LOG, Settings

    run = tmp_path / "run"
    run.mkdir()
    state = ContextPrior().state_dict()
    torch.save({"average": state, "settings": vars(Settings()), "step": 1}, run / CHECKPOINT)
    (run / LOG).write_text(json.dumps({"loss": 0.0}) + "\n")
    fine = {name: {"max": 0.0, "mean": 0.0, "q99": 0.0} for name in verify.TOLERANCE}
    monkeypatch.setattr(graph, "to_onnx", lambda model: small.model())
    monkeypatch.setattr(verify, "compare", lambda model, path: fine)
    monkeypatch.setattr(verification, "verification_set", lambda folder: [small.scan()])
    monkeypatch.setattr(make, "asked", lambda text: text.split(","))

    def run_it(*arguments):
        import typer

        app = typer.Typer()
        app.command()(exporter.export)
        return CliRunner().invoke(app, [str(run), "-o", str(tmp_path / "bundle"), *map(str, arguments)])

    return run_it


def test_a_flavour_that_passes_is_in_the_bundle_with_its_report(typed, tmp_path):
    result = typed("--precision", "fp32,fp16")
    assert result.exit_code == 0, result.output
    bundle = load_bundle(tmp_path / "bundle")
    assert set(bundle.manifest.flavours) == {"fp32", "fp16"}
    assert bundle.manifest.gate["fp16"]["FA_MAE"] <= LIMITS["FA_MAE"]
    assert json.loads((bundle.folder / "gate.json").read_text())["flavours"]["fp16"]["passed"]
    assert "fp16" in bundle.summary()


def test_a_refused_flavour_stops_the_export(typed, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "V1_median_deg", -1.0)
    result = typed("--precision", "fp32,fp16")
    assert result.exit_code == 1
    assert "refuses fp16" in result.output
    assert not (tmp_path / "bundle").exists()
    assert typed("--precision", "fp32,fp16", "--leave-out-refused").exit_code == 0
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert set(manifest.flavours) == {"fp32"}
    assert manifest.refused == ("fp16",)


@pytest.mark.slow
def test_int8_flavours_are_made_and_judged_layer_by_layer():
    from edge_pigment_calibration.quantisation import CalibrationSet

    calibration = CalibrationSet(small.features(), ("a small head",))
    lines = []
    noisy = replace(small.scan(), snr=5.0)
    made = make(small.model(), asked("int8"), 5.0, [noisy], calibration, lines.append)
    assert set(made.models) >= {"fp32", *made.quantised}
    for verdict in made.verdicts:
        assert verdict.passed or verdict.flavour in made.refused
    assert made.report(calibration)["calibration"]["sha256"] == calibration.hash
    assert any("head.5" in line for line in lines)

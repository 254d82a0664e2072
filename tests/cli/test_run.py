"""`edge-pigment run` as it is typed."""

import errno
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_pipeline import STEPS
from fake_pipeline import run as fake_run
from PIL import Image
from typer.testing import CliRunner

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.cli import app
from edge_pigment.errors import SOME_FAILED, DeviceError

DWI = "sub-{0}/dwi/sub-{0}_dwi.nii.gz"


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr("edge_pigment.pipeline.run", fake_run)
    # tests/outputs draws sheets
    monkeypatch.setattr("edge_pigment.outputs.write.draw_sheet", lambda *_: Image.new("RGB", (8, 8)))
    monkeypatch.delenv("EDGE_PIGMENT_DEBUG", raising=False)


def typed(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def scan(write_scan):
    return write_scan(name="in/scan.nii.gz")


@pytest.fixture
def dataset(write_scan, tmp_path):
    for label in ("1", "2", "3"):
        write_scan(name=f"raw/{DWI.format(label)}")
    return tmp_path / "raw"


def test_one_scan(scan, tmp_path):
    out = tmp_path / "out"
    result = typed("run", scan, "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == [".bidsignore", "dataset_description.json", "sub-scan"]
    assert len(list((out / "sub-scan/dwi").iterdir())) == 37
    assert str(out / "sub-scan/dwi/sub-scan_report.html") in result.stdout
    assert "noise sigma 12.5, SNR of b=0 20.0" in result.stdout
    assert "edge-pigment: warning: scan.nii.gz: The weather is fine." in result.stderr
    steps = [line.split(": ")[1].split(" (")[0] for line in result.stderr.splitlines() if "%" in line]
    assert steps == ["read", *(step for step, _ in STEPS), "write"]
    assert names(tmp_path) == ["in", "out"]


def test_quiet(scan, tmp_path):
    result = typed("run", scan, "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "edge-pigment: warning: scan.nii.gz: The weather is fine.\n"


def test_json(scan, tmp_path):
    result = typed("run", scan, "-o", tmp_path / "out", "--json", "--sigma", 3)
    summary = json.loads(result.stdout)
    assert summary["sigma"] == 3
    assert summary["snr"] == 20
    assert summary["device"] == {"Kernels": "fake"}
    assert set(summary["timings"]) == {"read", "total", "write"}
    assert summary["warnings"] == ["The weather is fine."]
    assert all(Path(file).is_file() for file in summary["outputs"].values())
    assert {"FA", "FA_sd", "tensor", "mask", "sheet", "report", "provenance"} < set(summary["outputs"])
    told = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    events = [event for event in told if event["event"] == "progress"]
    assert [event["step"] for event in events] == ["read", *(step for step, _ in STEPS), "write"]
    fractions = [event["fraction"] for event in events]
    assert fractions == sorted(fractions)


def test_gradients_given(scan, tmp_path):
    for kind in ("bval", "bvec"):
        (tmp_path / "in" / f"scan.{kind}").rename(tmp_path / f"table.{kind}")
    given = ("--bval", tmp_path / "table.bval", "--bvec", tmp_path / "table.bvec")
    assert typed("run", scan, "-o", tmp_path / "out").exit_code == 2
    assert typed("run", scan, "-o", tmp_path / "out", *given).exit_code == 0


def test_overwrite(scan, tmp_path):
    out = tmp_path / "out"
    assert typed("run", scan, "-o", out).exit_code == 0
    (out / "sub-scan" / "older").touch()
    assert typed("run", scan, "-o", out).exit_code == 2
    assert (out / "sub-scan" / "older").exists()
    assert typed("run", scan, "-o", out, "--overwrite").exit_code == 0
    assert not (out / "sub-scan" / "older").exists()
    assert names(tmp_path) == ["in", "out"]


def test_what_is_not_ours_is_never_replaced(scan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    result = typed("run", scan, "-o", out, "--overwrite")
    assert result.exit_code == 2
    assert texts.OUTPUT_NOT_OURS.format(path=out) in result.stderr
    assert names(out) == ["thesis.tex"]


def test_what_a_protocol_cannot_identify_is_said_before_the_work_begins(scan, tmp_path):
    lines = typed("run", scan, "-o", tmp_path / "out").stderr.splitlines()
    said = [n for n, line in enumerate(lines) if texts.ONE_SHELL in line]
    assert len(said) == 1
    assert said[0] < min(n for n, line in enumerate(lines) if "context prior" in line)
    assert any(texts.NO_SPARE_DIRECTIONS in line for line in lines)
    told = typed("run", scan, "-o", tmp_path / "json", "--json").stderr.splitlines()
    (event,) = (json.loads(line) for line in told if '"protocol"' in line)
    assert texts.ONE_SHELL in event["limits"]
    assert texts.ONE_SHELL not in typed("run", scan, "-o", tmp_path / "quiet", "--quiet").stderr
    plan = typed("run", scan, "-o", tmp_path / "plan", "--dry-run", "--device", "cpu").stderr
    assert texts.ONE_SHELL in plan


def no_bundle(monkeypatch):
    """A dry run without bundle, device and network."""
    made_up = {"load_bundle": "edge_pigment.prior.bundle", "choose_backend": "edge_pigment.pipeline"}
    for function, module in made_up.items():
        monkeypatch.setattr(f"{module}.{function}", lambda *_: FakePart)
    monkeypatch.setattr("edge_pigment.network.open_network", lambda *_: (None, []))


def test_dry_run(scan, tmp_path, monkeypatch):
    no_bundle(monkeypatch)
    out = tmp_path / "out"
    result = typed("run", scan, "-o", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "1 x b=0 + 6 x b=1000 s/mm²" in result.stdout
    assert "would write 37 files" in result.stdout
    assert f"in {out / 'sub-scan/dwi'}:" in result.stdout
    assert "sub-scan_model-tensor_param-fa_dwimap.nii.gz" in result.stdout
    as_json = json.loads(typed("run", scan, "-o", out, "--dry-run", "--json", "--sigma", 3).stdout)
    assert as_json["scans"][0]["estimated"] == ["mask"]
    assert names(tmp_path) == ["in"]


class FakePart:
    """Stands in for a bundle and a backend."""

    name = version = "made-up"
    hash = "0" * 64
    manifest = type("Manifest", (), {"name": "made-up", "version": "1"})

    @staticmethod
    def model(flavour):
        return None


def test_dataset(dataset, tmp_path):
    out = tmp_path / "out"
    result = typed("run", dataset, "-o", out, "--participant-label", 1, "--participant-label", "sub-3", "--json")
    assert result.exit_code == 0, result.output
    assert names(out) == [".bidsignore", "dataset_description.json", "sub-1", "sub-3"]
    assert [Path(s["scan"]).name for s in json.loads(result.stdout)["scans"]] == [
        "sub-1_dwi.nii.gz",
        "sub-3_dwi.nii.gz",
    ]
    link = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]["raw"]
    assert (out / link).resolve() == dataset

    again = typed("run", dataset, "-o", out)
    assert again.exit_code == 2
    assert texts.OUTPUT_EXISTS.format(path=out / "sub-1") in again.stderr
    assert typed("run", dataset, "-o", out, "--participant-label", 2).exit_code == 0
    assert names(out)[2:] == ["sub-1", "sub-2", "sub-3"]
    assert typed("run", dataset, "-o", out, "--overwrite").exit_code == 0
    assert names(tmp_path) == ["out", "raw"]


def test_one_bad_participant_does_not_hold_up_the_others(dataset, tmp_path):
    (dataset / DWI.format("2")).with_suffix("").with_suffix(".bvec").unlink()
    out = tmp_path / "out"
    result = typed("run", dataset, "-o", out, "--json")
    assert result.exit_code == SOME_FAILED
    assert "edge-pigment: error: sub-2: No bvec file" in result.stderr
    assert names(out)[2:] == ["sub-1", "sub-3"]
    assert [f["participant"] for f in json.loads(result.stdout)["failed"]] == ["sub-2"]


B0_ALONE = {"bvals": np.zeros(2), "bvecs": np.zeros((2, 3))}


def test_unrelated_images_of_a_participant_cost_nothing(dataset, write_scan, tmp_path):
    rng = np.random.default_rng(0)
    for name, voxels, tables in (
        ("dir-PA", rng.integers(1, 99, (5, 6, 4, 2), dtype=np.int16), B0_ALONE),
        ("rec-ADC", rng.integers(1, 99, (5, 6, 4), dtype=np.int16), {}),
        ("part-imag", None, {}),
    ):
        write_scan(voxels, name=f"raw/sub-2/dwi/sub-2_{name}_dwi.nii.gz", **tables)
    for bad in ("rec-ADC", "part-imag"):
        (dataset / f"sub-2/dwi/sub-2_{bad}_dwi.bval").unlink()
    out = tmp_path / "out"
    result = typed("run", dataset, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert len(told["scans"]) == 3
    assert told["failed"] == []
    assert [Path(s["scan"]).name.split("_")[1] for s in told["skipped"]] == ["part-imag", "dir-PA", "rec-ADC"]
    assert sum("is passed over" in line for line in result.stderr.splitlines()) == 3
    assert len(list(out.glob("sub-*/dwi/*param-fa_dwimap.nii.gz"))) == 6  # with those of sd


@pytest.mark.parametrize("dry", [False, True])
def test_a_bad_run_does_not_cost_the_good_ones_of_its_participant(dataset, write_scan, tmp_path, monkeypatch, dry):
    no_bundle(monkeypatch)
    bad = write_scan(name="raw/sub-2/dwi/sub-2_run-2_dwi.nii.gz")
    bad.write_bytes(bad.read_bytes()[:-40])
    out = tmp_path / "out"
    result = typed("run", dataset, "-o", out, "--json", *(["--dry-run"] if dry else []))
    assert result.exit_code == SOME_FAILED
    (failed,) = json.loads(result.stdout)["failed"]
    assert Path(failed["scan"]) == bad
    assert failed["participant"] == "sub-2"
    assert failed["exit_code"] == 2
    assert len(json.loads(result.stdout)["scans"]) == 3
    assert out.exists() != dry


def test_whatever_goes_wrong_with_a_scan_the_others_are_run(dataset, tmp_path, monkeypatch):
    def run(acquisition, options=None, progress=None):
        if "sub-2" in acquisition.path.name:
            raise ZeroDivisionError("a\nb")
        return fake_run(acquisition, options, progress)

    monkeypatch.setattr("edge_pigment.pipeline.run", run)
    result = typed("run", dataset, "-o", tmp_path / "out")
    assert result.exit_code == SOME_FAILED
    assert "sub-2: unexpected ZeroDivisionError: a b" in result.stderr
    assert names(tmp_path / "out")[2:] == ["sub-1", "sub-3"]
    monkeypatch.setenv("EDGE_PIGMENT_DEBUG", "1")
    assert typed("run", dataset, "-o", tmp_path / "debug").exit_code == 1


def test_a_dataset_where_nothing_can_be_run(write_scan, tmp_path):
    signal = np.random.default_rng(0).integers(1, 99, (5, 6, 4, 2), dtype=np.int16)
    write_scan(signal, name="raw/sub-1/dwi/sub-1_dwi.nii.gz", **B0_ALONE)
    result = typed("run", tmp_path / "raw", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(opening(texts.BIDS_NOTHING_RUN), result.stderr)
    write_scan(name="raw/sub-2/dwi/sub-2_dwi.nii.gz").with_name("sub-2_dwi.bvec").unlink()
    result = typed("run", tmp_path / "raw", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "No bvec file" in result.stderr
    assert names(tmp_path) == ["raw"]


def test_options_that_do_not_go_together(dataset, scan, tmp_path):
    out = tmp_path / "out"
    for arguments, text in (
        ((scan, "--participant-label", "1"), texts.OPTION_NEEDS_FOLDER),
        ((dataset, "--bvec", "x.bvec"), texts.OPTION_NEEDS_FILE),
        ((dataset, "--mask", "x.nii"), texts.OPTION_NEEDS_FILE),
        ((dataset, "--participant-label", "9"), texts.BIDS_NO_PARTICIPANT),
        ((scan, "--threads", "0"), texts.OPTION_OUT_OF_RANGE),
    ):
        result = typed("run", *arguments, "-o", out)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("edge-pigment: error: ")
        assert re.search(opening(text), result.stderr)
    assert not out.exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DeviceError("No GPU here."), 3, "edge-pigment: error: No GPU here."),
        (KeyboardInterrupt(), 130, "edge-pigment: interrupted: "),
        (ZeroDivisionError("a\nb"), 1, "edge-pigment: error: unexpected ZeroDivisionError: a b"),
        (MemoryError(), 2, "edge-pigment: error: Not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 2, "edge-pigment: error: The disk is full"),
        (OSError(errno.EIO, "Input/output error", "x"), 2, "edge-pigment: error: x: Input/output error"),
        (RuntimeError("can't start new thread"), 2, "edge-pigment: error: The system starts no more threads"),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_leaves_nothing(scan, tmp_path, monkeypatch, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr("edge_pigment.outputs.write.write_scan", fail)
    result = typed("run", scan, "-o", tmp_path / "out")
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == code
    assert last.startswith(said)
    assert ("EDGE_PIGMENT_DEBUG=1" in last) == (code == 1)
    assert "Traceback" not in result.stderr
    assert names(tmp_path) == ["in"]


def test_traceback_if_asked(scan, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_PIGMENT_DEBUG", "1")
    scan.with_name("scan.bvec").unlink()
    result = typed("run", scan, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("edge-pigment: error: No bvec file")


SLEEPY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, this test's parent, ignore it
sys.path.insert(0, sys.argv.pop(1))
import edge_pigment.pipeline
def run(*_):
    print("computing", flush=True)
    time.sleep(60)
edge_pigment.pipeline.run = run
from edge_pigment.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_from_outside(scan, tmp_path, number, code):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SLEEPY, here, "run", str(scan), "-o", str(tmp_path / "out"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "computing\n"
    assert names(tmp_path) != ["in"]
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    assert names(tmp_path) == ["in"]

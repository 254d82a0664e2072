"""What can stop a run is found before anything is computed, and a dry run finds the same."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_pipeline import run as fake_run
from PIL import Image
from typer.testing import CliRunner

from conftest import AFFINE_LAS, opening
from edge_pigment import errors as texts
from edge_pigment.cli import app


@pytest.fixture(autouse=True)
def computed(monkeypatch):
    """How often a scan was computed; it is not, here."""
    calls = []

    def run(acquisition, options=None, progress=None, tools=None):
        if not options.dry_run:
            calls.append(acquisition)
        return fake_run(acquisition, options, progress)

    monkeypatch.setattr("edge_pigment.pipeline.run", run)
    monkeypatch.setattr("edge_pigment.outputs.write.draw_sheet", lambda *_: Image.new("RGB", (8, 8)))
    return calls


def typed(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def said(result):
    """What is told of problems, without progress."""
    return [line for line in result.stderr.splitlines() if line.startswith("edge-pigment: ")]


def both(scan, output, *options):
    """Run and dry run, which must say the same of problems and leave the same behind."""
    before = sorted(output.parent.rglob("*"))
    planned = typed("run", scan, "-o", output, "--dry-run", "--device", "cpu", *options)
    assert sorted(output.parent.rglob("*")) == before
    ran = typed("run", scan, "-o", output, "--device", "cpu", *options)
    assert said(ran) == said(planned)
    assert ran.exit_code == planned.exit_code
    return ran


def refused(text, computed, scan, output, *options):
    ran = both(scan, output, *options)
    assert ran.exit_code == 2
    assert opening(text).replace("\\", "") in said(ran)[-1]
    assert not computed


def test_what_is_fine(write_scan, tmp_path):
    assert both(write_scan(name="in/scan.nii.gz"), tmp_path / "out").exit_code == 0
    assert names(tmp_path) == ["in", "out"]


def test_a_name_that_is_too_long_is_shortened_and_said(write_scan, tmp_path):
    long = "HeadEp2dDiffMddw64DirP2IpatS2MixMultibandAccel" * 5
    for n, name in enumerate((long, f"{long[:-1]}X", f"sub-{long[:80]}_acq-{long[:80]}_run-1_dwi")):
        scan = write_scan(name=f"in/{name}.nii.gz")
        ran = both(scan, tmp_path / f"out{n}")
        assert ran.exit_code == 0, ran.stderr
        assert any("is too long for the names of results" in line for line in said(ran)) == (len(name) > 199)
    first, second = (names(tmp_path / f"out{n}")[-1] for n in (0, 1))
    assert first != second
    assert all(name.isascii() and name.removeprefix("sub-").isalnum() for name in (first, second))


def test_an_output_folder_with_a_name_as_long_as_can_be(write_scan, tmp_path):
    assert both(write_scan(name="in/scan.nii.gz"), tmp_path / ("o" * 255)).exit_code == 0
    assert len(names(tmp_path)) == 2


def test_a_disk_that_is_too_full(write_scan, tmp_path, monkeypatch, computed):
    scan = write_scan(name="in/scan.nii.gz")
    really = os.statvfs

    def statvfs(path):
        values = list(really(path))
        values[4] = 1  # f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", statvfs)
    refused(texts.DISK_TOO_FULL, computed, scan, tmp_path / "out")
    assert names(tmp_path) == ["in"]


def test_too_little_memory(write_scan, tmp_path, monkeypatch, computed):
    scan = write_scan(name="in/scan.nii.gz")
    monkeypatch.setattr("edge_pigment.outputs.room.memory_left", lambda: 10**6)
    refused(texts.NO_MEMORY, computed, scan, tmp_path / "out")


def test_input_is_not_replaced(write_scan, tmp_path, computed):
    """The scan that was simulated last lies in a folder that edge-pigment made."""
    scan = write_scan(name="raw/sub-1/dwi/sub-1_dwi.nii.gz")
    (tmp_path / "raw" / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "edge-pigment"}]}')
    for given in (scan, tmp_path / "raw"):
        refused(texts.OUTPUT_HOLDS_INPUT, computed, given, tmp_path / "raw", "--overwrite")
    refused(texts.OUTPUT_AMONG_INPUT, computed, scan, tmp_path / "raw" / "sub-1" / "maps")
    assert scan.is_file()


def test_a_mask_that_does_not_fit_is_refused_by_both(write_scan, tmp_path, monkeypatch, computed):
    monkeypatch.undo()  # the real pipeline: its own checks come before what it computes
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), AFFINE_LAS), mask)
    scan = write_scan(name="in/scan.nii.gz")
    assert both(scan, tmp_path / "out", "--mask", mask).exit_code == 2
    assert both(scan, tmp_path / "out", "--sigma", "-1").exit_code == 2
    assert names(tmp_path) == ["in", "mask.nii.gz"]


def test_of_two_faults_both_tell_the_same_one(write_scan, tmp_path, monkeypatch, computed):
    monkeypatch.undo()
    scan = write_scan(name="in/scan.nii.gz")
    assert both(scan, tmp_path / "out", "--bundle", "nowhere", "--bvec", "nowhere").exit_code == 2
    assert both(scan, tmp_path / "out", "--bundle", "nowhere", "--network", "ort-tensorrt").exit_code == 2


def test_no_locks_is_a_warning(write_scan, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    ran = both(write_scan(name="in/scan.nii.gz"), tmp_path / "out")
    assert ran.exit_code == 0
    assert sum("no file locks" in line for line in said(ran)) == 1
    assert names(tmp_path) == ["in", "out"]


def test_the_disk_fills_up_while_the_result_is_written(write_scan, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    scan = write_scan(name="in/scan.nii.gz")
    monkeypatch.setattr("edge_pigment.outputs.write.write_nifti", full)
    result = typed("run", scan, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert opening(texts.DISK_FULL).replace("\\", "") in result.stderr.splitlines()[-1]
    assert names(tmp_path) == ["in"]


def test_names_with_something_hidden_in_them(write_scan, tmp_path):
    scan = write_scan(name="in/a\nb\x1b[2J\u202egpj <img src=x>.nii.gz")
    for options in ((), ("--dry-run",), ("--json",)):
        result = typed("run", scan, "-o", tmp_path / f"out{len(options)}{'json' in str(options)}", *options)
        assert result.exit_code == 0, result.stderr
        assert not {"\x1b", "\u202e"} & set(result.output)
        assert "a\nb" not in result.output
    for file in tmp_path.glob("out*/**/*.[jh]*"):
        text = file.read_text("utf-8")
        assert not {"\x1b", "\u202e"} & set(text), file
        assert "<img src=x" not in text or file.suffix == ".json"


SLOW = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
import edge_pigment.pipeline, fake_pipeline
def run(acquisition, options, *rest, **more):
    print("computing", flush=True)
    sys.stdin.readline()
    return fake_pipeline.run(acquisition, options)
edge_pigment.pipeline.run = run
from edge_pigment.cli import main
main()
"""


def start(scan, out, *options):
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), "run", str(scan), "-o", str(out), "--quiet"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *options], text=True, **pipes)


def test_two_runs_into_one_folder(write_scan, tmp_path):
    scan, out = write_scan(name="in/scan.nii.gz"), tmp_path / "out"
    first = start(scan, out)
    assert first.stdout.readline() == "computing\n"
    second = start(scan, out, "--overwrite")
    _, told = second.communicate(timeout=30)
    assert second.returncode == 2
    assert told.splitlines() == [f"edge-pigment: error: {texts.OUTPUT_IN_USE.format(path=out)}"]
    _, told = first.communicate("\n", timeout=30)
    assert first.returncode == 0, told
    assert names(tmp_path) == ["in", "out"]


def test_a_killed_run_is_cleared_away_by_the_next(write_scan, tmp_path):
    scan, out = write_scan(name="in/scan.nii.gz"), tmp_path / "out"
    first = start(scan, out)
    assert first.stdout.readline() == "computing\n"
    first.kill()
    first.communicate(timeout=30)
    assert len(names(tmp_path)) == 3
    assert typed("run", scan, "-o", out, "--dry-run", "--device", "cpu").exit_code == 0
    assert typed("run", scan, "-o", out).exit_code == 0
    assert names(tmp_path) == ["in", "out"]
    assert time.time() - out.stat().st_mtime < 60

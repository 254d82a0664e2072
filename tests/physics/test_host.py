"""The host backend: threads, tails, shapes, and what it says when it cannot run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from physics_cases import case, columns, protocol

from edge_pigment import errors
from edge_pigment.physics import host
from edge_pigment.physics.backend import Backend

ROOT = Path(__file__).resolve().parents[2]
CASE = case(2501, *protocol(2, (1.0, 9)))


def everything(backend: Backend, voxels: slice = slice(None)) -> list[np.ndarray]:
    y, b, bvecs, sigma = CASE.measured()
    mean, factor, nu = CASE.prior()
    measured = (np.ascontiguousarray(y[:, voxels]), b, bvecs, sigma[voxels])
    prior = (np.ascontiguousarray(mean[:, voxels]), np.ascontiguousarray(factor[:, voxels]))
    posterior = backend.adapt(*measured, *prior, nu)
    return [*backend.summarise(*measured), *posterior, backend.moments(posterior.mode, posterior.factor)]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_change_no_bit(threads):
    for one, many in zip(everything(host.HostBackend(1)), everything(host.HostBackend(threads)), strict=True):
        assert np.array_equal(one, many)


@pytest.mark.parametrize("voxels", [slice(0, 1), slice(3, 10), slice(5, 22), slice(1, 1030)])
def test_a_voxel_does_not_depend_on_its_neighbours(backend: host.HostBackend, voxels):
    """Neither on its lane, nor on how far the others are: those that are done are frozen."""
    for whole, part in zip(everything(backend), everything(backend, voxels), strict=True):
        assert np.array_equal(whole[..., voxels], part)


def test_instruction_sets_differ_in_rounding_only(monkeypatch):
    results = []
    for isa in host.instruction_sets():
        monkeypatch.setenv(host.ISA_VARIABLE, isa)
        results.append(everything(host.HostBackend(1)))
    for other in results[1:]:
        for one, two in zip(results[0][2:4], other[2:4], strict=True):  # mode and factor
            assert np.quantile(np.abs(one - two).max(0) / np.abs(one).max(0), 0.999) < 1e-5


def test_no_voxels_and_no_measurements(backend: host.HostBackend):
    nothing = everything(backend, slice(0, 0))
    assert [a.shape[-1] for a in nothing] == [0] * len(nothing)
    summary = backend.summarise(np.zeros((0, 3), np.float32), np.zeros(0), np.zeros((0, 3)), np.ones(3))
    assert np.isfinite(summary.theta).all()


def test_the_name_says_what_runs(monkeypatch):
    monkeypatch.setenv(host.ISA_VARIABLE, host.instruction_sets()[0])
    assert host.HostBackend(1).name.endswith(", 1 thread)")
    assert host.HostBackend(3).name.startswith("host (")
    assert host.HostBackend(3).name.endswith(", 3 threads)")
    assert host.HostBackend().threads >= 1


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv(host.ISA_VARIABLE, "mmx")
    with pytest.raises(errors.DeviceError, match="EDGE_PIGMENT_ISA=mmx"):
        host.HostBackend()


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "LIBRARY", tmp_path / "_host.so")
    host._library.cache_clear()
    try:
        with pytest.raises(errors.DeviceError, match="Install edge-pigment with pip"):
            host.HostBackend()
    finally:
        monkeypatch.undo()
        host._library.cache_clear()


def broken(argument: int, value: object) -> list[object]:
    arguments: list[object] = [*CASE.measured(), *CASE.prior()]
    arguments[argument] = value
    return arguments


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (1, np.ones(10)),
        (1, np.full(11, np.nan)),
        (1, np.full(11, -1.0)),
        (2, np.ones((11, 2))),
        (2, np.full((11, 3), np.inf)),
        (3, np.ones(7)),
        (3, np.zeros(2501)),
        (3, np.full(2501, np.nan)),
        (4, np.zeros((6, 2501))),
        (4, np.full((7, 2501), np.nan)),
        (5, columns(CASE.factor)[:, :-1]),
        (6, 0.0),
        (6, np.nan),
    ],
)
def test_what_does_not_fit_is_refused(argument, value):
    with pytest.raises(ValueError, match=r"."):
        host.HostBackend(1).adapt(*broken(argument, value))


def test_without_a_compiler_the_build_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", f"--build-temp={tmp_path}", f"--build-lib={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "CXX": str(tmp_path / "no-compiler")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "no C++17 compiler" in done.stderr
    assert "Traceback" not in done.stderr

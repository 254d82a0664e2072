"""The shipped CUDA code: as new as its sources, whole, and within what a thread has of registers."""

import hashlib
import subprocess

import pytest

from edge_pigment.physics import fatbin

TENSOR_ARCHITECTURES = (87, 90, 110)
"""Orin, H100, Thor."""


def test_the_fatbins_are_made_from_these_sources():
    record = fatbin.record()
    assert record["sources"] == fatbin.source_hash(), "run: python -m edge_pigment.physics.fatbin"
    assert record["architectures"] == list(fatbin.ARCHITECTURES)
    for module in fatbin.MODULES:
        assert hashlib.sha256(fatbin.path_of(module).read_bytes()).hexdigest() == record["sha256"][module]


def test_a_changed_source_is_noticed(monkeypatch, tmp_path):
    for path in fatbin.KERNELS.glob("*.*u*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tasks.h").write_bytes((fatbin.KERNELS / "tasks.h").read_bytes())
    monkeypatch.setattr(fatbin, "KERNELS", tmp_path)
    assert fatbin.source_hash() == fatbin.record()["sources"]
    (tmp_path / "adapt.cuh").write_text((tmp_path / "adapt.cuh").read_text() + "\n")
    assert fatbin.source_hash() != fatbin.record()["sources"]


def test_the_fatbins_are_small():
    assert sum(fatbin.path_of(module).stat().st_size for module in fatbin.MODULES) < 2**20


@pytest.mark.parametrize("sm", TENSOR_ARCHITECTURES)
@pytest.mark.parametrize("module", fatbin.MODULES)
def test_nothing_is_spilled(module, sm):
    nvcc = fatbin.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc: the compiler's report cannot be had")
    found = fatbin.usage(nvcc, module, sm)
    assert f"ep_{module}" in found
    for kernel, used in found.items():
        assert used.spilled == 0, kernel
        assert used.stack == 0, kernel
        assert 0 < used.registers <= 255, kernel


def test_without_a_compiler_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(fatbin, "find_nvcc", lambda: None)
    assert fatbin.main([]) == 1
    assert "no nvcc" in capsys.readouterr().err


def test_a_kernel_that_does_not_compile_leaves_the_fatbins_as_they_were(monkeypatch, tmp_path):
    nvcc = fatbin.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc")
    monkeypatch.setattr(fatbin, "KERNELS", tmp_path)
    monkeypatch.setattr(fatbin, "RECORD", tmp_path / "fatbins.json")
    monkeypatch.setattr(fatbin, "ARCHITECTURES", (90,))
    (tmp_path / "summarise.cu").write_text("this is no C++\n")
    with pytest.raises(subprocess.CalledProcessError):
        fatbin.build(nvcc)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summarise.cu"]

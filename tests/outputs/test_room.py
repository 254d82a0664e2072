"""Memory and disk space are looked at before anything is computed."""

import os
from types import SimpleNamespace

import pytest
from made_result import make_result

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.outputs import room
from edge_pigment.outputs.bids import ScanName, planned_files
from edge_pigment.outputs.write import write_scan

VOXELS = 500_000


def disk(monkeypatch, free, inodes=10**6, files=10**7):
    about = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_bsize=4096, f_favail=inodes, f_files=files)
    monkeypatch.setattr(os, "statvfs", lambda _: about)


def test_a_disk_with_room(tmp_path, monkeypatch):
    disk(monkeypatch, 10**9)
    assert room.check_disk(tmp_path / "out", False, VOXELS) == ()


def test_a_disk_that_may_be_too_full_is_told(tmp_path, monkeypatch):
    disk(monkeypatch, 30 * 10**6)
    (note,) = room.check_disk(tmp_path / "out", False, VOXELS)
    assert "30 MB free" in note
    with pytest.raises(InputError):
        room.check_disk(tmp_path / "out", False, VOXELS, before=25 * 10**6)


def test_a_disk_that_is_too_full(tmp_path, monkeypatch):
    disk(monkeypatch, 700_000)
    with pytest.raises(InputError, match=r"0\.7 MB is free"):
        room.check_disk(tmp_path / "out", False, VOXELS)
    disk(monkeypatch, 10**9, inodes=20)
    with pytest.raises(InputError, match="inodes"):
        room.check_disk(tmp_path / "out", False, VOXELS)
    disk(monkeypatch, 10**9, inodes=0, files=0)  # btrfs counts none
    assert room.check_disk(tmp_path / "out", False, VOXELS) == ()


def test_a_result_takes_no_more_than_was_said(tmp_path):
    """Random maps of a brain that fills the grid: the most that there can be."""
    result = make_result(shape=(40, 44, 30))
    name = ScanName.of(None)
    write_scan(result, name, tmp_path)
    taken = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert taken <= room.BYTES_PER_VOXEL * result.mask.size + room.PICTURES
    assert len(planned_files(name)) + 10 <= room.FILES


def test_memory(monkeypatch):
    monkeypatch.setattr(room, "memory_left", lambda: 300 * 10**6)
    room.check_memory("scan", 60_000, 7)
    with pytest.raises(InputError, match=opening(texts.NO_MEMORY)) as told:
        room.check_memory("scan", 1_000_000, 60)
    assert "800 MB" in str(told.value)
    assert "300 MB" in str(told.value)
    monkeypatch.setattr(room, "memory_left", lambda: None)
    room.check_memory("scan", 10**9, 1000)

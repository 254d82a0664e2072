"""Locks tell the living from the dead, and where there are none nobody is judged."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from edge_pigment.outputs import lock
from edge_pigment.outputs.lock import Lock, State, claimed, gate, state, unsupported

HOLDER = """
import sys, time
from pathlib import Path
from edge_pigment.outputs.lock import Lock
held = Lock(Path(sys.argv[1]), ["sub-1"])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A lock of another process."""
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_living_process_and_a_killed_one(elsewhere):
    path, process = elsewhere
    assert claimed(path) == ["sub-1"]
    assert state(path) is State.LIVE
    assert state(path) is State.LIVE, "looking does not change it"
    process.kill()
    process.wait()
    assert state(path) is State.STALE
    assert state(path) is State.STALE


def test_of_this_process(tmp_path):
    held = Lock(tmp_path / "lock", None)
    assert held.works
    assert claimed(held.path) is None
    assert state(held.path) is State.LIVE
    held.release()
    assert not held.path.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_nobody_is_judged(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    old = Lock(tmp_path / "old", None)
    monkeypatch.setattr(fcntl, "flock", flock)
    held = Lock(tmp_path / "lock", None)
    assert not held.works
    assert unsupported(tmp_path)
    assert state(old.path) is State.UNKNOWN
    monkeypatch.undo()
    assert state(held.path) is State.UNKNOWN, "it was never locked, so being free says nothing"
    assert not unsupported(tmp_path)


def test_a_lock_file_of_an_older_version(tmp_path):
    (tmp_path / "lock").touch()
    assert claimed(tmp_path / "lock") is None
    assert state(tmp_path / "lock") is State.STALE


def test_one_at_a_time_through_the_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    with gate(tmp_path):
        other = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with gate(tmp_path):
            pass  # nobody waits for ever
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)

"""All of a result or nothing, whatever happens on the way."""

import os
import signal
import subprocess
import sys

import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.outputs.staging import DESCRIPTION, Staging, check_target, is_ours

OURS = '{"GeneratedBy": [{"Name": "edge-pigment"}]}'


def fill(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(OURS)
    for name, text in files.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "map").write_text(text)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_appears_only_when_published(tmp_path):
    target = tmp_path / "out"
    with Staging(target) as stage:
        fill(stage.path, a="new")
        assert not target.exists()
        stage.publish()
        assert contents(target) == {DESCRIPTION: OURS, "a/map": "new"}
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing(tmp_path, error):
    def run():
        with Staging(tmp_path / "out") as stage:
            fill(stage.path, a="new")
            raise error

    with pytest.raises(error):
        run()
    assert names(tmp_path) == []


def test_replaces_the_whole_older_result(tmp_path):
    target = tmp_path / "out"
    fill(target, a="old", b="old")
    with Staging(target) as stage:
        fill(stage.path, a="new")
        assert contents(target)["b/map"] == "old"
        stage.publish()
    assert contents(target) == {DESCRIPTION: OURS, "a/map": "new"}
    assert names(tmp_path) == ["out"]


def test_the_older_result_survives_a_failed_move(tmp_path, monkeypatch):
    target = tmp_path / "out"
    fill(target, a="old")

    def fail(self, place):
        raise OSError("disk")

    with Staging(target) as stage:
        fill(stage.path, a="new")
        monkeypatch.setattr(type(stage.path), "replace", fail)
        with pytest.raises(OSError, match="disk"):
            stage.publish()
    assert contents(target)["a/map"] == "old"
    assert names(tmp_path) == ["out"]


def test_a_dataset_grows_by_participants(tmp_path):
    target = tmp_path / "out"
    fill(target, **{"sub-1": "old", "sub-2": "old"})
    with Staging(target, merge=True) as stage:
        fill(stage.path, **{"sub-2": "new", "sub-3": "new"})
        stage.publish()
    maps = {key: text for key, text in contents(target).items() if key != DESCRIPTION}
    assert maps == {"sub-1/map": "old", "sub-2/map": "new", "sub-3/map": "new"}
    assert names(target) == [DESCRIPTION, "sub-1", "sub-2", "sub-3"]


def test_a_dataset_that_appears_meanwhile_is_joined(tmp_path):
    """Two jobs of a cluster start with the same, still missing, output folder."""
    target = tmp_path / "out"
    with Staging(target, merge=True) as first, Staging(target, merge=True) as second:
        fill(first.path, **{"sub-1": "1"})
        fill(second.path, **{"sub-2": "2"})
        first.publish()
        second.publish()
    assert names(target) == [DESCRIPTION, "sub-1", "sub-2"]
    assert names(tmp_path) == ["out"]


def test_an_existing_empty_folder_is_used(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    check_target(target, overwrite=False)
    with Staging(target) as stage:
        fill(stage.path, a="new")
        stage.publish()
    assert contents(target)["a/map"] == "new"


def test_a_mount_point_is_filled_from_within(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(target))
    with Staging(target) as stage:
        assert stage.path.parent == target
        fill(stage.path, a="new")
        stage.publish()
    assert names(target) == ["a", DESCRIPTION]
    assert names(tmp_path) == ["out"]


KILLED = """
import sys, time
from pathlib import Path
from edge_pigment.outputs.staging import Staging
target, moment = Path(sys.argv[1]), sys.argv[2]
def wait(*_):
    print("ready", flush=True)
    time.sleep(60)
with Staging(target) as stage:
    (stage.path / "map").write_text("new")
    if moment == "writing":
        wait()
    Path.replace = wait  # the older result is out of the way, the new one not yet in place
    stage.publish()
"""


@pytest.fixture
def killed(tmp_path):
    """Kill a run without mercy: while it writes, or between the two moves of its end."""

    def kill(moment):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "out"), moment]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

    return kill


def test_killed_while_writing(tmp_path, killed):
    killed("writing")
    assert not (tmp_path / "out").exists()
    assert all(name.startswith(".out.edge-pigment-") for name in names(tmp_path))
    assert len(names(tmp_path)) == 2  # lock and partial
    with Staging(tmp_path / "out") as stage:
        fill(stage.path, a="new")
        stage.publish()
    assert names(tmp_path) == ["out"]


def test_killed_between_old_and_new_gives_the_old_back(tmp_path, killed):
    fill(tmp_path / "out", a="old")
    killed("moving")
    assert not (tmp_path / "out").exists()
    with Staging(tmp_path / "out"):
        assert contents(tmp_path / "out")["a/map"] == "old"
    assert names(tmp_path) == ["out"]


def test_a_living_run_is_not_disturbed(tmp_path):
    with Staging(tmp_path / "out") as living:
        fill(living.path, a="first")
        for merge in (False, True):
            with pytest.raises(InputError, match=opening(texts.OUTPUT_IN_USE)), Staging(tmp_path / "out", merge):
                pass
        assert contents(living.path)["a/map"] == "first"
        living.publish()
    assert contents(tmp_path / "out")["a/map"] == "first"


def test_is_ours(tmp_path):
    assert not is_ours(tmp_path)
    for text in ("", "[]", "{}", '{"GeneratedBy": "x"}', '{"GeneratedBy": [{"Name": "fMRIPrep"}]}'):
        (tmp_path / DESCRIPTION).write_text(text)
        assert not is_ours(tmp_path), text
    (tmp_path / DESCRIPTION).write_text(OURS)
    assert is_ours(tmp_path)


def test_targets_that_are_refused(tmp_path):
    ours, other, file = tmp_path / "ours", tmp_path / "other", tmp_path / "file"
    fill(ours, **{"sub-1": "old"})
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    file.write_text("")
    for target, overwrite, participants, text in (
        (ours, False, None, texts.OUTPUT_EXISTS),
        (ours, False, ["sub-2", "sub-1"], texts.OUTPUT_EXISTS),
        (other, False, None, texts.OUTPUT_NOT_OURS),
        (other, True, None, texts.OUTPUT_NOT_OURS),
        (other, True, ["sub-1"], texts.OUTPUT_NOT_OURS),
        (file, True, None, texts.OUTPUT_NOT_A_FOLDER),
        (file / "out", False, None, texts.OUTPUT_PARENT_MISSING),
        (tmp_path / "no" / "out", False, None, texts.OUTPUT_PARENT_MISSING),
    ):
        with pytest.raises(InputError, match=opening(text)):
            check_target(target, overwrite, participants)
    check_target(ours, overwrite=True)
    check_target(ours, overwrite=False, participants=["sub-2"])
    check_target(tmp_path / "new", overwrite=False)


def test_not_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write everywhere
    with pytest.raises(InputError, match=opening(texts.OUTPUT_NOT_WRITABLE)):
        check_target(tmp_path / "out", overwrite=False)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=opening(texts.OUTPUT_NOT_WRITABLE)),
        Staging(tmp_path / "file" / "out"),
    ):
        pass


def test_two_participants_side_by_side_and_one_twice(tmp_path):
    target = tmp_path / "out"
    with Staging(target, merge=True, participants=["sub-1"]) as first:
        with Staging(target, merge=True, participants=["sub-2"]) as second:
            fill(second.path, **{"sub-2": "2"})
            second.publish()
        # now the dataset is there, and hidden folders of later runs lie in it
        with (
            pytest.raises(InputError, match=opening(texts.OUTPUT_IN_USE)),
            Staging(target, merge=True, participants=["sub-1", "sub-3"]),
        ):
            pass
        fill(first.path, **{"sub-1": "1"})
        first.publish()
    assert names(target) == [DESCRIPTION, "sub-1", "sub-2"]
    assert names(tmp_path) == ["out"]


def no_locks(monkeypatch):
    monkeypatch.setattr("edge_pigment.outputs.lock.fcntl", None)


@pytest.mark.parametrize("merge", [False, True])
def test_without_locks_the_second_is_told_when_it_is_done(tmp_path, monkeypatch, merge):
    no_locks(monkeypatch)
    target = tmp_path / "out"
    with Staging(target, merge) as first, Staging(target, merge) as second:
        assert not first.locks
        fill(first.path, **{"sub-1": "1"})
        fill(second.path, **{"sub-1": "2"})
        first.publish()
        with pytest.raises(InputError, match=opening(texts.OUTPUT_TAKEN)):
            second.publish()
    assert contents(target)["sub-1/map"] == "1"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("merge", [False, True])
def test_an_older_result_replaced_meanwhile_is_left_to_who_was_first(tmp_path, monkeypatch, merge):
    no_locks(monkeypatch)
    target = tmp_path / "out"
    fill(target, **{"sub-1": "old"})
    with Staging(target, merge) as first, Staging(target, merge) as second:
        fill(first.path, **{"sub-1": "1"})
        fill(second.path, **{"sub-1": "2"})
        first.publish()
        with pytest.raises(InputError, match=opening(texts.OUTPUT_TAKEN)):
            second.publish()
    assert contents(target)["sub-1/map"] == "1"
    assert names(tmp_path) == ["out"]


def test_what_a_user_put_there_meanwhile_is_not_lost(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with Staging(target) as stage:
        fill(stage.path, a="new")
        (target / "thesis.tex").write_text("years")
        with pytest.raises(InputError, match=opening(texts.OUTPUT_TAKEN)):
            stage.publish()
    assert names(target) == ["thesis.tex"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("merge", [False, True])
def test_what_appeared_since_the_check_is_not_replaced_unasked(tmp_path, merge):
    fill(tmp_path / "out", **{"sub-1": "old"})
    with (
        pytest.raises(InputError, match=opening(texts.OUTPUT_EXISTS)),
        Staging(tmp_path / "out", merge, overwrite=False, participants=["sub-1"]),
    ):
        pass
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, exists):
    real, link = tmp_path / "real", tmp_path / "link"
    if exists:
        real.mkdir()
    link.symlink_to(real)
    check_target(link, overwrite=False)
    with Staging(link) as stage:
        fill(stage.path, a="new")
        stage.publish()
    assert link.is_symlink()
    assert contents(real)["a/map"] == "new"
    assert names(tmp_path) == ["link", "real"]


def test_a_long_name_has_room_for_its_companions(tmp_path):
    for name in ("o" * 255, "ö" * 127):
        target = tmp_path / name
        check_target(target, overwrite=False)
        with Staging(target) as stage, pytest.raises(InputError), Staging(target):
            pass
        with Staging(target) as stage:
            fill(stage.path, a="new")
            stage.publish()
        assert contents(target)["a/map"] == "new"
    assert len(names(tmp_path)) == 2


def test_a_mount_point_is_replaced_as_a_whole_too(tmp_path, monkeypatch):
    target = tmp_path / "out"
    fill(target, **{"sub-old": "old", "sub-1": "old"})
    (target / "lost+found").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(target))
    with Staging(target) as stage:
        fill(stage.path, **{"sub-1": "new"})
        stage.publish()
    assert names(target) == [DESCRIPTION, "lost+found", "sub-1"]
    assert contents(target)["sub-1/map"] == "new"


def test_a_mount_point_where_a_run_was_killed_is_free(tmp_path, monkeypatch):
    target = tmp_path / "out"
    (target / ".out.edge-pigment-partial-0123abcd").mkdir(parents=True)
    (target / ".out.edge-pigment-lock-0123abcd").touch()
    (target / "lost+found").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(target))
    check_target(target, overwrite=False)
    with Staging(target) as stage:
        fill(stage.path, a="new")
        stage.publish()
    assert names(target) == ["a", DESCRIPTION, "lost+found"]


def test_killed_while_a_dataset_was_made_and_grew_meanwhile(tmp_path):
    """The killed run's companions lie beside the dataset, the replaced participant in it."""
    target = tmp_path / "out"
    fill(target, **{"sub-2": "2"})
    (tmp_path / ".out.edge-pigment-lock-0123abcd").touch()
    (target / ".sub-1.edge-pigment-old-0123abcd").mkdir()
    (target / ".sub-1.edge-pigment-old-0123abcd" / "map").write_text("1")
    with Staging(target, merge=True, participants=["sub-3"]):
        pass
    assert contents(target)["sub-1/map"] == "1"
    assert names(tmp_path) == ["out"]
    assert names(target) == [DESCRIPTION, "sub-1", "sub-2"]

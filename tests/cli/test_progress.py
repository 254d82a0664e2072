"""A log has each step once; JSON and the bar follow a step as it goes."""

import json

import pytest

from edge_pigment.cli.console import Progress


def follow(progress):
    for step, share in (("mask", 0.0), ("context prior", 0.3), ("context prior", 0.5), ("maps", 0.9)):
        progress(step, share)
    progress.close()


def test_lines(capsys):
    follow(Progress(label="scan"))
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "scan: mask",
        "scan: context prior",
        "scan: maps",
    ]


def test_json(capsys):
    follow(Progress(as_json=True))
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["fraction"] for event in events] == [0.0, 0.3, 0.5, 0.9]


def test_bar(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    follow(Progress(label="scan"))
    drawn = capsys.readouterr().err
    assert drawn.count("context prior") == 2
    assert drawn.endswith("\r\x1b[K")

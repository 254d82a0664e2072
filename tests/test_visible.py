"""What hides in names of files does not reach terminal, page or file."""

import json

import pytest

from edge_pigment.visible import all_visible, recovered, safe_json, visible

HOSTILE = "a\nb\r\x1b[2J\x07\x9b\u202egpj.\u2066\u200b\u2028\ufeff\udcff\U000e0041"


def test_nothing_hidden_is_left():
    shown = visible(HOSTILE)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    assert shown.encode("utf-8")
    assert shown.startswith("a\\nb\\r\\x1b[2J")
    assert "\\u202e" in shown


@pytest.mark.parametrize("text", ["", "scan 1 [dwi].nii.gz", "Köpf 扫描 µm² × σ", "a & b <img> 'q' \"r\"", "C:\\new"])
def test_what_can_be_seen_stays(text):
    assert visible(text) == text


def test_a_name_of_another_locale_is_read_as_what_it_is():
    kept = "Köpf".encode().decode("ascii", "surrogateescape")
    assert recovered(kept) == "Köpf"
    assert visible(kept + "\udcff") == "Köpf\\udcff"


def test_nested():
    assert all_visible({"a": ["x\n", ("y\t", 1.5)], "b": None}) == {"a": ["x\\n", ["y\\t", 1.5]], "b": None}


@pytest.mark.parametrize("indent", [None, 2])
def test_json_says_the_same_with_nothing_hidden(indent):
    content = {"name": HOSTILE, "list": ["²", "\x7f"]}
    packed = safe_json(json.dumps(content, indent=indent, ensure_ascii=False))
    assert all(line.isprintable() for line in packed.split("\n"))
    assert packed.encode("utf-8")
    assert json.loads(packed) == content
    assert "²" in packed

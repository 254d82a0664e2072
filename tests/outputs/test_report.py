"""The report: self-contained, the verdict first, the voxels as they are; in a browser where there is one."""

import base64
import io
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from made_result import ORIENTATIONS, PROVENANCE, make_result
from PIL import Image

from edge_pigment.outputs.report import draw_report
from edge_pigment.outputs.report.charts import bars, sphere
from edge_pigment.outputs.report.regions import areas, low_areas, novel_areas
from edge_pigment.outputs.views import Viewer
from edge_pigment.quality.verdict import CARE, REPEAT, USABLE

QUALITY = {
    "Verdict": USABLE,
    "Reasons": [],
    "Volumes": {"Outliers": [], "LogLevel": [None, 0.01, -0.7], "Exchanged": [], "ExchangeUndecidable": ""},
    "DroppedSlices": [],
    "MotionMm": {"Largest": 0.3, "Span": 0.4, "Limits": [1.5, 1.5, 1.5], "Moved": [], "PerVolume": [None, 0.1, 0.3]},
    "BrainADC": 0.0008,
    "SNRb0": 20.0,
    "MaskMl": 1400.0,
    "Protocol": {"Rank": 6, "ConditionNumber": 1.6, "Limits": ["One b-value."]},
}
PROTOCOL = PROVENANCE["Protocol"] | {"BVals": [0, 1000, 1000], "Directions": [[0, 0, 0], [1, 0, 0], [0, 0, 1]]}


def page(affine=ORIENTATIONS["LAS"], quality=QUALITY, warnings=()):
    result = make_result(affine)
    provenance = PROVENANCE | {"Quality": quality, "Protocol": PROTOCOL}
    html = draw_report(result.maps, result.mask, affine, "sub-<01>", provenance, warnings)
    return result, html


def voxels(html):
    data = json.loads(re.search(r'id="volumes">(.*?)</script>', html, re.S)[1])
    x, y, z = data["shape"]
    maps = {}
    for entry in data["maps"]:
        image = Image.open(io.BytesIO(base64.b64decode(entry["png"].split(",")[1])))
        flat = np.asarray(image).reshape(z, y, x, -1)
        maps[entry["key"]] = entry, np.moveaxis(flat, (0, 2), (2, 0)).squeeze()
    return data, maps


def test_nothing_is_fetched_from_anywhere():
    _, html = page()
    assert not re.search(r'(src|href)\s*=\s*"(?!#|data:)|url\(|@import|https?://', html)
    assert len(html) < 8e6


def test_the_title_and_warnings_are_escaped():
    _, html = page(warnings=["a <b> & c"])
    assert "sub-&lt;01&gt;" in html
    assert "a &lt;b&gt; &amp; c" in html


@pytest.mark.parametrize(("level", "look"), [(USABLE, "usable"), (CARE, "care"), (REPEAT, "repeat")])
def test_the_verdict_comes_first_with_its_reason(level, look):
    reasons = [] if level == USABLE else ["Volume 2 is dark."]
    _, html = page(quality=QUALITY | {"Verdict": level, "Reasons": reasons})
    body = html[html.index("<body>") :]
    assert f'id="verdict" class="{look}"' in body
    assert body.index('id="verdict"') < body.index('id="viewer"')
    assert ("Volume 2 is dark." if reasons else "No volume or slice stands out") in body


def test_without_measures_nothing_is_claimed():
    result = make_result()
    html = draw_report(result.maps, result.mask, result.affine, "x", {})
    assert "Not judged" in html


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_page_holds_the_maps_from_left_to_right_back_to_front_foot_to_head(name):
    affine = ORIENTATIONS[name]
    result, html = page(affine)
    data, maps = voxels(html)
    entry, image = maps["FA"]
    assert (image > 0).sum() == result.mask.sum()
    # the voxel whose FA is highest lies at the same place in scanner mm, up to the tilt of the axes
    expected = np.unravel_index(np.argmax(result.maps["FA"]), result.mask.shape)
    told = np.argwhere(image == image.max())
    i = np.stack([np.argwhere(image)]) if told.size == 0 else told
    value = entry["low"] + (image[tuple(told[0])] - 1) / 254 * (entry["high"] - entry["low"])
    assert value == pytest.approx(result.maps["FA"].max(), abs=0.004)
    if name != "oblique":
        axes = {"sagittal": 0, "coronal": 1, "axial": 2}
        positions = {axes[p["name"]]: [float(s.split()[2]) for s in p["positions"]] for p in data["planes"]}
        mm = np.array([[positions[axis][n] for axis, n in enumerate(where)] for where in i])
        assert np.abs(mm - (affine @ [*expected, 1])[:3]).max(1).min() < 0.51


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_sheet_and_page_state_the_same_position_of_a_slice(name):
    """Of every slice on the sheet, also where slices are tilted."""
    result, html = page(ORIENTATIONS[name])
    data, _ = voxels(html)
    stated = {plane["name"]: plane for plane in data["planes"]}
    viewer = Viewer(result.mask, ORIENTATIONS[name])
    for view in viewer.views():
        number = view.index - viewer.first(view.plane)
        assert stated[view.plane]["positions"][number] == view.position
        assert stated[view.plane]["title"] == view.name
        assert ("tilted" in view.name) == (name == "oblique")
    assert ("pass the brain" in html) == (name == "oblique")


def test_thin_scans_have_no_stripes():
    result = make_result(np.diag([2.0, 2.0, 2.0, 1.0]), (40, 44, 2))
    html = draw_report(result.maps, result.mask, result.affine, "x", {"Quality": QUALITY})
    data, _ = voxels(html)
    assert [plane["name"] for plane in data["planes"]] == ["axial"]
    assert len(data["planes"][0]["positions"]) == 2
    assert "<figure" in html
    assert 'id="coronal"' not in html


def test_many_reasons_do_not_push_the_pictures_out():
    reasons = [f"Volume {n} is dark." for n in range(30)]
    _, html = page(quality=QUALITY | {"Verdict": CARE, "Reasons": reasons}, warnings=[*reasons, "The mask is odd."])
    before = html[: html.index('id="viewer"')]
    assert before.index("Volume 0 is dark.") < before.index("<details>") < before.index("Volume 29 is dark.")
    assert before.count("Volume 3 is dark.") == 1
    assert "The mask is odd." in before


def test_what_was_left_out_and_doubts_of_the_noise_are_shown():
    result = make_result()
    screening = {"VolumesUsed": [0, 1, 2, 4, 6, 7], "Findings": ["Volume 3 is a mean of others."]}
    noise = {"Sigma": 12.5, "SNRb0": 20.0, "Method": "angular residuals", "Note": "The image was filtered."}
    provenance = PROVENANCE | {"Quality": QUALITY, "Screening": screening, "Noise": noise}
    html = draw_report(result.maps, result.mask, result.affine, "x", provenance)
    assert "as in the image): 0-2, 4, 6-7." in html
    assert html.count("The image was filtered.") == 2
    assert "angular residuals" in html
    assert "of those used: 0-2, 4, 6-7" in html
    provenance["Screening"] = {"VolumesUsed": [0, 1]}
    plain = draw_report(result.maps, result.mask, result.affine, "x", provenance)
    assert "Volumes used" not in plain


def test_a_large_image_is_thinned(monkeypatch):
    monkeypatch.setattr("edge_pigment.outputs.report.pictures.MOST_VOXELS", 300)
    data, maps = voxels(page()[1])
    assert np.prod(data["shape"]) <= 500
    assert data["size"][0] > 2
    assert maps["FA"][1].shape == tuple(data["shape"])


def test_groups_of_novel_voxels_are_told_single_ones_are_not():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    novelty = np.zeros((30, 30, 30), np.float32)
    novelty[5, 5, 5] = 9
    novelty[15:20, 10:15, 12:17] = 5
    (area,) = novel_areas(novelty, np.ones(novelty.shape, bool), affine)
    assert area.ml == pytest.approx(1.0, rel=0.35)
    np.testing.assert_allclose(area.centre, [34, 24, 28], atol=1)


def test_low_diffusion_is_told_but_not_at_the_rim():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    mask = np.zeros((30, 30, 30), bool)
    mask[3:27, 3:27, 3:27] = True
    md = np.where(mask, np.random.default_rng(0).normal(8e-4, 5e-5, mask.shape), 0).astype(np.float32)
    assert low_areas(md, mask, affine) == []
    md[3:4] *= 0.3
    md[14:20, 14:20, 14:20] *= 0.5
    (area,) = low_areas(md, mask, affine)
    np.testing.assert_allclose(area.centre, [33, 33, 33], atol=1)
    assert list(areas({"MD": md, "novelty": 0 * md}, mask, affine)) == ["MD"]
    assert areas({"MD": md[:, :, :2]}, mask[:, :, :2], affine) == {}


def test_areas_are_links_to_their_slice_and_map():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    mask = np.ones((20, 20, 20), bool)
    maps = {name: np.full(mask.shape, value, np.float32) for name, value in {"MD": 8e-4, "FA": 0.2}.items()}
    maps["MD"][8:13, 8:13, 8:13] = 3e-4
    html = draw_report(maps, mask, affine, "x", {"Quality": QUALITY})
    assert 'data-map="MD">' in html
    assert "in axial slice 11</a>" in html
    assert html.index("Look at") < html.index('id="viewer"')


def test_bars_mark_what_is_beyond_the_limit():
    drawn = bars([None, 1.0, -30.0], 25, " %", signed=True)
    assert drawn.count('class="mark"') == 1
    assert "volume 2: -30 %" in drawn


def test_the_sphere_shows_each_direction_and_its_antipode():
    assert sphere([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [0, 1000, 1000]).count('r="4"') == 4


PROBE = """
window.failed = [];
addEventListener('error', (e) => failed.push(e.message));
addEventListener('securitypolicyviolation', (e) => failed.push(e.blockedURI));
console.error = (m) => failed.push(String(m));
addEventListener('load', () => setTimeout(() => {
  const key = (key, shiftKey) => document.dispatchEvent(new KeyboardEvent('keydown', {key, shiftKey}));
  const caption = (plane) => document.querySelector(`#${plane} figcaption`).textContent;
  const told = {ready: document.body.dataset.ready, verdict: document.querySelector('#verdict .word').textContent};
  const number = (plane) => +caption(plane).match(/\\((\\d+) \\//)[1];
  const start = number('axial'); told.caption = caption('axial');
  key('ArrowUp'); told.up = number('axial') - start;
  key('ArrowDown'); key('ArrowDown'); told.down = number('axial') - start;
  key('ArrowRight'); const middle = number('coronal'); key('ArrowDown'); told.coronal = number('coronal') - middle;
  const slider = document.querySelector('#sagittal input');
  slider.value = 2; slider.dispatchEvent(new Event('input')); told.slider = number('sagittal');
  key('2'); told.pressed = document.querySelector('#maps button[aria-pressed=true]').textContent;
  const c = document.querySelector('#axial canvas');
  const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  told.lit = 0; for (let i = 0; i < p.length; i += 4) if (p[i] > 40) told.lit++;
  told.fetched = performance.getEntriesByType('resource').map((r) => r.name).filter((n) => !n.startsWith('data:'));
  told.failed = failed;
  told.wide = document.documentElement.scrollWidth;
  document.body.dataset.probe = JSON.stringify(told);
}, 1500));
"""


@pytest.mark.slow
def test_in_a_browser_keys_and_sliders_work_and_nothing_is_fetched(tmp_path: Path):
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    _, html = page()
    # headless Chromium prints the page after the scripts have run, so attributes tell what happened
    file = tmp_path / "report.html"
    file.write_text(html.replace("<main>", f"<script>{PROBE}</script><main>", 1), "utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,720"]
    command += ["--virtual-time-budget=6000", "--enable-logging=stderr", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    told = json.loads(unescape(re.search(r'data-probe="([^"]*)"', done.stdout)[1]))
    assert told["ready"] == "yes"
    data, _ = voxels(html)
    first = data["start"][2]
    of_all = f"({first + 1} / {data['shape'][2]})"
    assert told["caption"] == f"axial  {data['planes'][0]['positions'][first]}  {of_all}"
    assert told["verdict"] == "Usable"
    assert (told["up"], told["down"], told["coronal"]) == (1, -1, -1)
    assert told["slider"] == 3
    assert told["pressed"] == "2 FA"
    assert told["lit"] > 1000
    assert told["fetched"] == told["failed"] == []
    assert told["wide"] <= 1280
    assert "CONSOLE" not in done.stderr

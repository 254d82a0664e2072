"""The report: self-contained, the verdict first, the voxels as they are; in a browser where there is one."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_result import ORIENTATIONS, PROVENANCE, make_result
from PIL import Image

from edge_pigment.outputs.report import draw_report
from edge_pigment.outputs.report.charts import bars, sphere
from edge_pigment.outputs.report.regions import novel_areas
from edge_pigment.quality.verdict import CARE, REPEAT, USABLE

QUALITY = {
    "Verdict": USABLE,
    "Reasons": [],
    "Volumes": {"Outliers": [], "LogLevel": [None, 0.01, -0.7], "Exchanged": [], "ExchangeUndecidable": ""},
    "DroppedSlices": [],
    "MotionMm": {"Largest": 0.3, "Span": 0.4, "Limit": 1.5, "PerVolume": [None, 0.1, 0.3]},
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
        mm = np.array(data["origin"]) + i * np.array(data["size"])
        assert np.abs(mm - (affine @ [*expected, 1])[:3]).max(1).min() < 1e-3


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


def test_bars_mark_what_is_beyond_the_limit():
    drawn = bars([None, 1.0, -30.0], 25, " %", signed=True)
    assert drawn.count('class="mark"') == 1
    assert "volume 2: -30 %" in drawn


def test_the_sphere_shows_each_direction_and_its_antipode():
    assert sphere([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [0, 1000, 1000]).count('r="4"') == 4


@pytest.mark.slow
def test_in_a_browser_the_viewer_draws_and_no_script_fails(tmp_path: Path):
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    _, html = page()
    # headless Chromium prints the page after the scripts have run, so attributes tell what happened
    probe = (
        "<script>window.onerror=(m)=>{document.body.setAttribute('data-failed',m)};"
        "addEventListener('load',()=>setTimeout(()=>{const k=(key)=>"
        "document.dispatchEvent(new KeyboardEvent('keydown',{key}));"
        "const at=()=>document.querySelector('#axial figcaption').textContent;const before=at();k('ArrowUp');k('2');"
        "const c=document.querySelector('#axial canvas'),p=c.getContext('2d').getImageData(0,0,c.width,c.height).data;"
        "let lit=0;for(let i=0;i<p.length;i+=4)if(p[i]>40)lit++;"
        "document.body.dataset.probe=[before!==at(),lit>1000,document.body.dataset.ready].join(' ')},1500))</script>"
    )
    file = tmp_path / "report.html"
    file.write_text(html.replace("<main>", f"{probe}<main>", 1), "utf-8")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=6000", "--dump-dom"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert 'data-failed="' not in done.stdout
    assert 'data-probe="true true yes"' in done.stdout

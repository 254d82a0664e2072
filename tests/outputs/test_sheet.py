"""The sheet of pictures: the right way up, the right colours, on any grid."""

import numpy as np
import pytest
from made_result import ORIENTATIONS, PROVENANCE, make_result

from edge_pigment.outputs.colour import colour, direction_colour, table
from edge_pigment.outputs.lettering import printable, wrap
from edge_pigment.outputs.sheet import MOST_LINES, ROWS, _head, draw_sheet, facts, notes
from edge_pigment.outputs.views import Viewer

RED, GREEN, BLUE = np.eye(3, dtype=int)


def where(affine, shape, point):
    """(X, Y, Z) share of voxels near a point in scanner mm."""
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    xyz = ijk @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(xyz - point, axis=-1) < 12


def sheet(result, title="a scan"):
    return draw_sheet(result.maps, result.mask, result.affine, title, result.provenance, result.warnings)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_upright_and_radiological(orientation):
    """A mark at the patient's left, front and top is at the right of axial pictures and at their top."""
    affine, shape = ORIENTATIONS[orientation], (40, 40, 40)
    centre = affine[:3, :3] @ [20, 20, 20] + affine[:3, 3]
    viewer = Viewer(np.ones(shape, bool), affine)
    views = {view.plane: view for view in viewer.views(slices=1)}
    # per plane: offset of the mark in the slice (right, anterior, superior mm), and whether it is left and up
    for plane, offset, is_left, is_up in (
        ("axial", (-20, 20, 0), False, True),
        ("axial", (20, -20, 0), True, False),
        ("coronal", (-20, 0, 20), False, True),
        ("coronal", (20, 0, -20), True, False),
        ("sagittal", (0, 20, 20), True, True),
        ("sagittal", (0, -20, -20), False, False),
    ):
        view = views[plane]
        picture = viewer.cut(where(affine, shape, centre + offset), view)
        rows, columns = np.nonzero(picture)
        assert len(rows), plane
        assert (rows.mean() < picture.shape[0] / 2) == is_up, (plane, offset)
        assert (columns.mean() < picture.shape[1] / 2) == is_left, (plane, offset)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_captions_give_the_position(orientation):
    affine, shape = ORIENTATIONS[orientation], (40, 40, 40)
    viewer = Viewer(np.ones(shape, bool), affine)
    z = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[2, :3] + affine[2, 3]
    for view in viewer.views():
        if view.plane == "axial":
            stated = float(view.caption.split("=")[1].split()[0])
            assert stated == pytest.approx(viewer.cut(z, view).mean(), abs=1.0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_colours_are_anatomical(orientation):
    """Fibres along a scanner axis have that axis's colour, however the image axes lie."""
    affine = ORIENTATIONS[orientation]
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for scanner_axis, ink in zip(np.eye(3), (RED, GREEN, BLUE), strict=True):
        image_axis = np.linalg.solve(axes, scanner_axis)
        image_axis /= np.linalg.norm(image_axis)
        np.testing.assert_allclose(direction_colour(image_axis, 0.8, affine), 204 * ink, atol=12)
        np.testing.assert_allclose(direction_colour(-image_axis, 0.8, affine), 204 * ink, atol=12)


@pytest.mark.parametrize(
    ("shape", "voxel", "planes"),
    [
        ((40, 44, 36), (2, 2, 2), {"axial", "coronal", "sagittal"}),
        ((40, 44, 1), (2, 2, 5), {"axial"}),
        ((40, 44, 2), (2, 2, 2), {"axial"}),
        ((1, 44, 40), (5, 2, 2), {"sagittal"}),
        ((40, 3, 44), (2, 5, 2), {"coronal"}),
        ((40, 44, 12), (1.5, 1.5, 6), {"axial", "coronal", "sagittal"}),
        ((3, 3, 3), (2, 2, 2), {"axial"}),
        ((80, 90, 10), (2, 2, 2), {"axial"}),
        ((5, 44, 40), (5, 2, 2), {"sagittal"}),
    ],
)
def test_any_grid(shape, voxel, planes):
    result = make_result(np.diag([*voxel, 1.0]), shape)
    views = Viewer(result.mask, result.affine).views()
    assert {view.plane for view in views} == planes
    assert len({(view.plane, view.index) for view in views}) == len(views)
    drawn = sheet(result)
    assert drawn.width < 1700
    assert drawn.height < 2400


def test_pictures_keep_the_proportions_of_the_body():
    result = make_result(np.diag([1.0, 1.0, 4.0, 1.0]), (40, 40, 10))
    sizes = {view.plane: view.size for view in Viewer(result.mask, result.affine).views()}
    assert sizes["axial"] == (40, 40)
    assert sizes["coronal"] == (40, 40)


def test_slices_stay_within_the_brain():
    mask = np.zeros((30, 30, 30), bool)
    mask[10:20, 10:20, 12:18] = True
    viewer = Viewer(mask, np.diag([2.0, 2, 2, 1]))
    axial = [view for view in viewer.views() if view.plane == "axial"]
    assert len(axial) == 5
    assert all(viewer.cut(mask, view).any() for view in axial)
    assert viewer.cut(mask, axial[0]).shape == (14, 14)


def test_nothing_is_drawn_outside_the_mask():
    result = make_result(shape=(40, 44, 36))
    before = np.asarray(sheet(result))
    for data in result.maps.values():
        data[~result.mask] = 1
    np.testing.assert_array_equal(np.asarray(sheet(result)), before)


def test_bad_values_and_missing_maps_do_not_end_a_run():
    result = make_result(shape=(40, 44, 36))
    result.maps["FA"][5] = np.nan
    result.maps["novelty"][:] = np.inf
    whole = sheet(result).height
    del result.maps["novelty"], result.maps["FA"]
    assert sheet(result).height < whole
    result.mask[:] = False
    sheet(result)


def test_warnings_and_long_names_fit():
    result = make_result(shape=(40, 44, 36), warnings=["word " * 100, "σ is estimated → ±5 % 扫描"])
    assert sheet(result, "n" * 300).height > sheet(make_result(shape=(40, 44, 36))).height


def test_the_verdict_and_its_reasons_come_before_the_pictures():
    plain = make_result(shape=(40, 44, 36))
    result = make_result(shape=(40, 44, 36), warnings=["The table is odd."])
    result.provenance = PROVENANCE | {"Quality": {"Verdict": "repeat the scan", "Reasons": ["Volume 2 is dark."]}}
    told = [text for text, *_ in _head("x", result.provenance, result.warnings, 1500)]
    places = [told.index(s) for s in ("Repeat the scan", "-  Volume 2 is dark.", "-  Warning: The table is odd.")]
    assert places == sorted(places)
    assert sheet(result).height > sheet(plain).height
    below = [np.asarray(drawn)[-400:] for drawn in (sheet(result), sheet(plain))]
    np.testing.assert_array_equal(*below)


def test_long_lists_do_not_push_the_pictures_out():
    reasons = [f"Volume {n} is {'very ' * 60}dark." for n in range(40)]
    told = _head("x", PROVENANCE | {"Quality": {"Verdict": "usable with care", "Reasons": reasons}}, reasons, 1500)
    assert len(told) < MOST_LINES + 6
    assert any("more: see the report" in text for text, *_ in told)


def test_what_was_left_out_and_doubts_of_the_noise_are_noted():
    assert notes(PROVENANCE) == []
    assert notes({"Screening": {"VolumesUsed": [0, 1, 2], "Findings": []}}) == []
    assert notes({"Screening": {"VolumesUsed": [0, 2, 3], "Findings": ["One was a copy."]}})[0].endswith(": 0, 2-3.")
    (note,) = notes({"Noise": {"Method": "angular residuals", "Note": "Filtered."}})
    assert "angular residuals" in note
    assert "Filtered." in note


@pytest.mark.parametrize("degrees", [0, 1, 12, 40])
def test_tilted_slices_say_so_and_where_they_pass_the_centre(degrees):
    turn = np.eye(4)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    mask = np.zeros((40, 44, 36), bool)
    mask[5:30, 8:40, 4:34] = True
    affine = turn @ np.array([[-2.0, 0, 0, 40], [0, 2, 0, -44], [0, 0, 2, -36], [0, 0, 0, 1]])
    viewer = Viewer(mask, affine)
    names = {view.plane: view.name for view in viewer.views()}
    tilted = f", tilted {degrees}°" if degrees > 1 else ""
    assert names == {"axial": f"axial{tilted}", "coronal": f"coronal{tilted}", "sagittal": "sagittal"}
    centre = np.argwhere(mask).mean(0)
    for view in viewer.views():
        if view.plane == "axial":
            at = affine @ [*centre[:2], view.index, 1]  # third image axis runs upwards
            assert float(view.position.split()[2]) == pytest.approx(at[2], abs=0.51)
    sheet(make_result(affine, (40, 44, 36)))


def test_fine_slices_have_positions_that_differ():
    viewer = Viewer(np.ones((40, 44, 36), bool), np.diag([0.15, 0.15, 0.5, 1]))
    positions = viewer.positions("axial")
    assert len(set(positions)) == 36
    assert positions[1] == "z = 0.5 mm"
    assert Viewer(np.ones((40, 44, 36), bool), np.diag([2.0, 2, 2, 1])).position("axial", 0) == "z = 0 mm"


def test_every_map_of_the_sheet_exists():
    assert {row.map for row in ROWS} <= set(make_result().maps)


def test_facts():
    assert facts(PROVENANCE) == [
        "1 x b=0 + 6 x b=1000 s/mm²",
        "2 x 2 x 3 mm",
        "noise σ 12.5",
        "SNR of b=0 20.0",
        "novel voxels 1.2 %",
        "host, CPU",
        "1.2 s",
    ]
    assert facts({}) == []
    shells = [{"b": 200.0 * i, "Volumes": 33} for i in range(1, 16)]
    assert facts({"Protocol": {"Volumes": 496, "Shells": shells}})[0].endswith("... 15 shells, 495 in all s/mm²")


def test_letters():
    assert printable("σ 5 µm² – 3 ± 1 扫") == "sigma 5 um^{2} - 3 ± 1 ?"
    assert wrap("", 14, 100) == []
    assert wrap("one two", 14, 1) == ["one", "two"]


@pytest.mark.parametrize("name", ["grey", "viridis", "inferno"])
def test_tables_grow_brighter(name):
    """Whoever sees no colours still sees the order of values."""
    brightness = table(name) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > -0.5).all()
    assert brightness[-1] - brightness[0] > 150
    np.testing.assert_array_equal(colour([-1, 0, np.nan], 0, 1, name), np.tile(table(name)[0], (3, 1)))
    np.testing.assert_array_equal(colour([1, 9, np.inf], 0, 1, name), np.tile(table(name)[-1], (3, 1)))


@pytest.mark.parametrize("name", ["viridis", "inferno"])
def test_tables_are_those_of_matplotlib(name):
    matplotlib = pytest.importorskip("matplotlib")
    theirs = matplotlib.colormaps[name](np.linspace(0, 1, 256), bytes=True)[:, :3].astype(int)
    assert np.abs(table(name) - theirs).max() <= 8

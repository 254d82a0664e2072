"""Repeats: simulated series of one drawn head, turned by known rotations, joined into one reference."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")
pytest.importorskip("dipy", reason="the workshop extra is not installed")

from conftest import draw_head
from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import from_matrix, quadratic_form, to_matrix
from edge_pigment_prior import repeats
from edge_pigment_prior.references import fit_reference
from edge_pigment_prior.schemes import repel

HEAD = draw_head((24, 30, 20), 6.0)
CENTRE = (np.array(HEAD.brain.shape) - 1) / 2
SIGMA = 0.04
B = np.r_[0.0, 0.0, np.full(14, 1000.0)]


def turning(degrees):
    a, b, c = np.radians(degrees)
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return z @ y @ x


def pose(degrees=(0, 0, 0), shift=(0, 0, 0)):
    """(4, 4) head mm -> scanner mm."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turning(degrees), shift
    return out


def scan(head_pose, affine, seed, flip=1.0):
    """A series of the head at a pose, on a grid; flip mirrors the directions falsely where it is -1."""
    rng = np.random.default_rng(seed)
    to_head = np.linalg.inv(head_pose) @ affine  # voxels -> head mm
    at = np.einsum("ij,jxyz->ixyz", to_head[:3, :3], np.indices(HEAD.brain.shape)) + to_head[:3, 3, None, None, None]
    index = np.round(at / HEAD.voxel + CENTRE[:, None, None, None]).astype(int)
    inside = np.all((index >= 0) & (index < np.array(HEAD.brain.shape)[:, None, None, None]), axis=0)
    x, y, z = np.where(inside, index, 0)
    S0 = np.where(inside, HEAD.S0[x, y, z], 0)
    bvecs = np.zeros((len(B), 3))
    bvecs[B > 0] = repel(rng.normal(size=(int((B > 0).sum()), 3)))
    # image axes -> scanner -> head
    axes = head_pose[:3, :3].T @ affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    rows = quadratic_form(bvecs @ axes.T)
    S = S0[..., None] * np.exp(-B / 1000 * (HEAD.D[x, y, z] @ rows.T))
    y = np.hypot(S + SIGMA * rng.standard_normal(S.shape), SIGMA * rng.standard_normal(S.shape))
    return Acquisition((100 * y).astype(np.float32), GradientTable(B, bvecs * [flip, 1, 1]), affine)


def grid(signs=(1, 1, 1), degrees=(0, 0, 0)):
    """Affine of a grid centred on the scanner, its axes mirrored and turned."""
    axes = turning(degrees) @ np.diag(HEAD.voxel * np.asarray(signs, float))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = axes, -axes @ CENTRE
    return out


FIRST = ("sub-a_acq-1", scan(pose(), grid(), 0))
TURNED = ("sub-a_acq-2", scan(pose((4, -3, 5), (3, -2, 4)), grid((-1, 1, 1), (0, 8, 0)), 1))
THIRD = ("sub-a_acq-3", scan(pose((-3, 2, 0), (-2, 3, 1)), grid((-1, 1, 1)), 2))
WRONG = ("sub-a_acq-4", scan(pose((2, 0, 0)), grid(), 3, flip=-1.0))


def test_directions_are_turned_from_any_grid_and_pose_into_the_firsts():
    moved, source, target = pose((20, -30, 40), (5, 6, 7)), grid((-1, 1, 1), (10, 20, 30)), grid((1, 1, 1), (0, 0, 50))
    D = np.array([[1.5, 0.2, 0.1], [0.2, 0.6, 0.0], [0.1, 0.0, 0.3]])  # in the head's frame
    table = GradientTable(B, scan(pose(), grid(), 5).gradients.bvecs)
    in_source = table.bvecs @ (moved[:3, :3].T @ source[:3, :3] / HEAD.voxel).T  # in the head's frame
    found = repeats.turn(table, source, moved, target).bvecs @ (target[:3, :3] / HEAD.voxel).T
    np.testing.assert_allclose(found, in_source, atol=1e-12)
    weighted = B > 0  # elsewhere no direction: a trace image's row
    forms = quadratic_form(found[weighted]) @ from_matrix(D[None])[0]
    np.testing.assert_allclose(forms, np.einsum("ni,ij,nj->n", in_source, D, in_source)[weighted], atol=1e-12)
    assert to_matrix(from_matrix(D[None]))[0] == pytest.approx(D)


def test_the_pose_is_found():
    found = repeats.register(FIRST[1], TURNED[1])
    true = pose((4, -3, 5), (3, -2, 4))
    off = np.degrees(np.arccos(np.clip((np.trace(found[:3, :3].T @ true[:3, :3]) - 1) / 2, -1, 1)))
    assert off < 2.0  # of 7; on voxels of 6 mm, drawn without partial volume
    assert np.linalg.norm((found - true)[:3, 3]) < HEAD.voxel / 4


def test_joined_is_nearer_the_truth_than_one_series_and_what_disagrees_is_left_out():
    lines = []
    (joined,) = repeats.join([FIRST, TURNED, THIRD, WRONG], HostBackend(1), lines.append)
    assert joined.members == (FIRST[0], TURNED[0], THIRD[0])
    assert any(WRONG[0] in line and "left out" in line for line in lines)
    alone = fit_reference(FIRST[1], FIRST[0], HostBackend(1), joined.reference.mask.T)
    mask = joined.reference.mask
    truth = HEAD.D.transpose(3, 2, 1, 0)[:, mask]
    # inside tissue: at its borders the drawn head is one voxel sharp, which no interpolation keeps
    error = [np.median(np.abs(r.theta[1:, mask] - truth)) for r in (joined.reference, alone)]
    assert error[0] < 0.85 * error[1]
    assert joined.reference.sd > 0.5 * np.median(np.abs(joined.reference.theta[1:4, mask] - truth[:3])) * 1.48


def test_cubic_splines_keep_what_linear_interpolation_blurs(monkeypatch):
    affine = grid()
    half = np.eye(4)
    half[:3, 3] = HEAD.voxel / 2
    at = np.indices(HEAD.brain.shape)
    # waves of eight voxels: half a voxel off, linear interpolation keeps cos(pi / 8) = 0.92 of one along each axis
    wave = [2 + np.prod([np.cos(np.pi / 4 * (x + off)) for x in at], axis=0) for off in (0, 0.5)]
    moving = Acquisition(np.repeat(wave[0][..., None], len(B), axis=3).astype(np.float32), FIRST[1].gradients, affine)
    inner = (slice(7, -7),) * 3  # splines remember the image's edge

    def error(order):
        monkeypatch.setattr(repeats, "SPLINE", order)
        there, inside = repeats.interpolate(moving, half, moving)
        assert inside[inner].all()
        return np.abs(there.signal[inner][..., 0] - wave[1][inner]).max()

    kept = np.cos(np.pi / 8) ** 3  # also the wave's height half a voxel off its crest
    assert error(1) == pytest.approx((1 - kept) * kept, rel=0.01)
    assert error(3) < error(1) / 20


def test_a_few_absurd_tensors_do_not_decide_whether_series_agree():
    rng = np.random.default_rng(6)
    directions = rng.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    D = from_matrix(0.4 * np.eye(3) + directions[:, :, None] * directions[:, None]).T
    spoilt = D.copy()
    spoilt[:, :4] = 20 * spoilt[:, 4:8]
    assert repeats.agreement_of(D, D) == pytest.approx(1)
    assert repeats.agreement_of(D, spoilt) > 0.95
    mirrored = D * np.array([1, 1, 1, -1, -1, 1])[:, None]
    assert repeats.agreement_of(D, mirrored) < repeats.AGREEMENT
    D[:, :4] = 0  # not fitted
    assert repeats.agreement_of(D, spoilt) > 0.95


def test_series_of_other_voxels_or_few_slices_are_not_joined():
    coarse = Acquisition(FIRST[1].signal, FIRST[1].gradients, FIRST[1].affine @ np.diag([1.5, 1.5, 1.5, 1]))
    thin = Acquisition(FIRST[1].signal[:, :, :4], FIRST[1].gradients, FIRST[1].affine)
    lines = []
    assert repeats.join([FIRST, ("coarse", coarse), ("thin", thin)], HostBackend(1), lines.append) == []
    assert "factor of 1.50" in lines[0]
    assert "4 slices" in lines[1]


def test_joined_references_stand_in_for_their_series_and_are_cached(tmp_path, monkeypatch):
    folder = tmp_path / "sub-a" / "dwi"
    scans = [folder / f"{name}_dwi.nii.gz" for name, _ in (FIRST, TURNED, WRONG)]
    by_path = dict(zip(scans, (FIRST[1], TURNED[1], WRONG[1]), strict=True))
    monkeypatch.setattr(repeats, "read_acquisition", by_path.__getitem__)
    monkeypatch.setattr("edge_pigment_prior.references.read_acquisition", by_path.__getitem__)
    found = repeats.joined_references(scans, tmp_path / "cache")
    assert [r.name for r in found] == ["sub-a_desc-joined", WRONG[0]]
    monkeypatch.setattr(repeats, "join", None)  # nothing is joined twice
    again = repeats.joined_references(scans, tmp_path / "cache")
    assert [r.sd for r in again] == [r.sd for r in found]
    record = json.loads((tmp_path / "cache" / "sub-a_desc-joined.json").read_text())
    assert record["joined"] == {"sub-a_desc-joined": [FIRST[0], TURNED[0]]}

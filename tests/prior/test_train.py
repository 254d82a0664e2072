"""Training: reproducible, resumable after a kill, and never gone on with under other settings."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from test_patches import striped

from edge_pigment_prior import train as training
from edge_pigment_prior.train import CHECKPOINT, LOG, Settings, load_network, train

SETTINGS = Settings(steps=4, batch=1, width=8, wide_width=4, depth=1, head=8)


def weights(run):
    return load_network(run / CHECKPOINT)[0].state_dict()


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    references = [striped([3, -2, 1.5])]
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training, "LOG_EVERY", 1)
    train(references, tmp_path / "whole", SETTINGS, workers=0, progress=False)

    def save_and_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    save = training._save
    monkeypatch.setattr(training, "_save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(references, tmp_path / "killed", SETTINGS, workers=0, progress=False)
    monkeypatch.setattr(training, "_save", save)
    train(references, tmp_path / "killed", SETTINGS, workers=0, progress=False)

    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
    losses = [[json.loads(line)["loss"] for line in (tmp_path / r / LOG).open()] for r in ("whole", "killed")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == SETTINGS.steps


@pytest.mark.parametrize("missing", [{"join"}, set(training.OLDER)], ids=["join", "all"])
def test_a_run_from_before_a_setting_goes_on(tmp_path, missing):
    settings = replace(SETTINGS, **training.OLDER)
    references = [striped([3, -2, 1.5])]
    train(references, tmp_path / "whole", settings, workers=0, progress=False)
    train(references, tmp_path / "older", settings, workers=0, progress=False, until=2)
    path = tmp_path / "older" / CHECKPOINT
    state = torch.load(path, weights_only=True)
    state["settings"] = {k: v for k, v in state["settings"].items() if k not in missing}
    if "muon" in missing:
        (state["optimiser"],) = state.pop("optimisers")
    torch.save(state, path)
    with pytest.raises(ValueError, match="other settings"):
        train(references, tmp_path / "older", replace(settings, join=True), workers=0, progress=False)
    train(references, tmp_path / "older", settings, workers=0, progress=False)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "older")[name]), name


def test_other_settings_need_another_folder(tmp_path):
    references = [striped([0, 0, 1])]
    train(references, tmp_path, Settings(steps=1, batch=1, width=8, wide_width=4, depth=1, head=8), "cpu", 0, False)
    with pytest.raises(ValueError, match="other settings"):
        train(references, tmp_path, SETTINGS, workers=0, progress=False)


def test_a_run_that_stops_early_keeps_its_schedule(tmp_path):
    references = [striped([3, -2, 1.5])]
    train(references, tmp_path / "whole", SETTINGS, workers=0, progress=False)
    train(references, tmp_path / "early", SETTINGS, workers=0, progress=False, until=3)
    assert load_network(tmp_path / "early" / CHECKPOINT)[2] == 3
    train(references, tmp_path / "early", SETTINGS, workers=0, progress=False)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "early")[name]), name


def test_a_gradient_that_overflows_spoils_nothing(tmp_path, monkeypatch):
    losses = training.loss_of
    calls = []

    def overflowing(model, *rest):
        calls.append(1)
        return losses(model, *rest) * (float("inf") if len(calls) == 2 else 1)

    monkeypatch.setattr(training, "loss_of", overflowing)
    model = train([striped([3, -2, 1.5])], tmp_path, SETTINGS, workers=0, progress=False)
    assert len(calls) == SETTINGS.steps
    assert all(torch.isfinite(p).all() for p in model.parameters())

"""Are ruined scans caught, and clean ones left in peace? Detection and false-alarm rates of `edge_pigment.quality`.

    python benchmarks/motion.py --data DATA_FOLDER --aligned aligned/
    python benchmarks/quality.py --data DATA_FOLDER --aligned aligned/ --seeds 20 --output results/

Scans known to be clean are simulated: of the digital head (a new one for each seed), and of reference tensor images
fitted to each real scan after DIPY has aligned its volumes, its scalp and eyes included (a scan that is not in the
folder of aligned ones is taken as it is if it lay still, and else left out). Seeds go through the protocols
and noise levels in turn. What the checks say of them is a false alarm. Real scans, whole and cut to six directions and
one b=0, are as they left the scanner, so what is found in them untouched may be there: it is listed by name, with
figures, not counted. Of scans of fine voxels or many volumes `motion.averaged` and `motion.fewer` make smaller ones.

Each scan is ruined in five ways (`ruin.py`) for each seed. The flip is judged by the whole pipeline, as a user would
see it; the others by the same steps without the context prior, which they do not need. What is done already is read
from the output folder, so that an interrupted run goes on.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.adapt import gather
from edge_pigment.brainmask import brain_mask, otsu
from edge_pigment.convention import Convention
from edge_pigment.gradients import GradientTable
from edge_pigment.noise import estimate_sigma
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.host import HostBackend
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.quality import assess
from edge_pigment.quality.motion import WARN_MM
from edge_pigment.simulate import Noise, Protocol, Shell, Subject, read_profile, simulate_scan
from edge_pigment_prior.references import fit_reference
from methods import subset_directions
from motion import FINE_MM, averaged, fewer, find_all, load, measured, name_of
from ruin import FAULTS, FLIPPED, alarms, faults, flip_told, flipped

HEAD = "digital head"
HEAD_MM = 2.0
"""Grid of the digital head."""
TISSUE = 0.5
"""Of Otsu's threshold on the b=0 image: scalp, eyes and brain are above, air is not."""
LEADS = ("LeadInStandardErrors", "PriorLeadInStandardErrors")
LEAST_SLICES = 10
"""Along any axis; the checks say of thinner slabs that they cannot tell."""


def protocols() -> dict[str, tuple[Protocol, Noise]]:
    """What subjects are scanned with, in voxels of at least these sizes (mm)."""
    low = read_profile("64mT")

    def shells(directions: int, b: float = 1000.0) -> tuple[Shell, ...]:
        return (Shell(b=b, directions=directions),)

    thin, thick = (3.0, 3.0, 3.0), (3.0, 3.0, 5.0)
    dual = (Shell(scheme="dual", b=1000.0),)
    return {
        "6+1, SNR 10": (Protocol(voxel=thick), Noise(snr=10)),
        "6+1, SNR 20": (Protocol(voxel=thin), Noise(snr=20)),
        "64 mT": (low.protocol, low.noise),
        "6 dual + 1, SNR 12": (Protocol(shells=dual, voxel=thick), Noise(snr=12)),
        "12+1, SNR 12": (Protocol(shells=shells(12), voxel=thin), Noise(snr=12)),
        "30+3, SNR 20": (Protocol(shells=shells(30), b0=3, voxel=thick), Noise(snr=20)),
        "15+1, b=2000, SNR 30": (Protocol(shells=shells(15, 2000.0), voxel=thin), Noise(snr=30)),
        "6+1, SNR 5": (Protocol(voxel=thick), Noise(snr=5)),
    }


def subject_of(acquisition: Acquisition, name: str) -> Subject:
    """The head of a real scan as tensors fitted to all of its measurements."""
    b0 = acquisition.mean_b0
    reference = fit_reference(acquisition, name, mask=b0 > TISSUE * otsu(b0))
    theta = reference.theta.T
    S0 = np.where(reference.mask.T, np.exp(np.clip(theta[..., 0], -4, 4)), 0)
    brain, _ = brain_mask(b0, acquisition.mean_dwi, acquisition.voxel_size)
    return Subject.from_tensor(S0, theta[..., 1:], acquisition.affine, brain)


def simulated(subject: Subject, seed: int) -> tuple[str, Acquisition]:
    """The subject by the seed's protocol."""
    name, (protocol, noise) = list(protocols().items())[seed % len(protocols())]
    voxel = tuple(float(max(a, b)) for a, b in zip(protocol.voxel, subject.voxel_size, strict=True))
    scan = simulate_scan(subject, protocol.model_copy(update={"voxel": voxel}), noise, seed=seed)
    return name, Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)


def look(acquisition: Acquisition) -> dict[str, Any]:
    """What the pipeline would measure, but for the frame."""
    found, _ = brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size)
    mask = found & (acquisition.mean_b0 > 0)
    m = gather(acquisition, mask, estimate_sigma(acquisition, mask).sigma)
    theta = HostBackend(1).summarise(m.y, m.b, m.bvecs, m.sigma).theta
    return assess(acquisition, mask, m, theta, np.zeros(len(m.y), np.float32), Convention({})).as_dict()


def run_whole(acquisition: Acquisition, bundle: Path | None) -> dict[str, Any]:
    """What the pipeline measures."""
    provenance = run(acquisition, RunOptions(bundle=bundle, device="cpu", threads=1)).provenance
    frame = provenance["GradientConvention"]
    return provenance["Quality"] | {"GradientConvention": frame}


def trial(acquisition: Acquisition, seed: int, bundle: Path | None, whole: bool) -> dict[str, Any]:
    """A row: alarms of the untouched scan, and which faults are caught.

    Args:
        acquisition: the scan.
        seed: of the faults.
        bundle: of the prior.
        whole: also the untouched and the flipped scan, by the whole pipeline.
    """
    row: dict[str, Any] = {"caught": {}}
    if whole:
        told = run_whole(acquisition, bundle)
        row["alarms"] = alarms(told)
        row["told"] = {
            "Verdict": told["Verdict"],
            "Reasons": told["Reasons"],
            "MotionMm": [told["MotionMm"]["Largest"], told["MotionMm"]["Span"]],
            "FlipLead": [told["GradientConvention"][lead] for lead in LEADS],
            "Seconds": told["Seconds"],
        }
        wrong = run_whole(flipped(acquisition), bundle)
        row["caught"][FLIPPED] = flip_told(wrong)
        row["told"]["FlippedLead"] = [wrong["GradientConvention"][lead] for lead in LEADS]
        row["told"]["Undecidable"] = wrong["GradientConvention"]["Undecidable"]
    ruined = faults(acquisition, np.random.default_rng([seed, len(acquisition.gradients)]))
    row["caught"] |= {name: bool(caught(look(scan))) for name, (scan, caught) in ruined.items()}
    return row


class Heads:
    """The real scans and the subjects made of them, each made when it is first asked for and kept.

    Args:
        data: folder of data sets.
        aligned: folder of `motion.py`'s scans.
        only: part of the scans' names.
    """

    def __init__(self, data: Path | None, aligned: Path | None, only: str) -> None:
        self.paths = {name_of(p): p for p in find_all(data) if only in name_of(p)} if data else {}
        self._aligned, self._real, self._subjects = aligned, {}, {}

    def real(self, name: str) -> Acquisition:
        """As it left the scanner."""
        if name not in self._real:
            self._real[name] = averaged(fewer(read_acquisition(self.paths[name])), FINE_MM)
        return self._real[name]

    def few(self, name: str) -> Acquisition:
        """Cut to six directions and a b=0."""
        scan = self.real(name)
        return scan.subset(np.sort(subset_directions(scan.gradients, 6)[0]))

    def subject(self, name: str) -> Subject | None:
        """Of the aligned scan; None where that is not there and the head moved."""
        if name not in self._subjects:
            file = self._aligned / f"{name}.npz" if self._aligned else None
            if file and file.exists():
                self._subjects[name] = subject_of(load(file)[0], name)
            elif measured(scan := self.real(name))[0] < WARN_MM:
                self._subjects[name] = subject_of(scan, name)
        return self._subjects.get(name)


def rows(heads: Heads, seeds: int, only: str, bundle: Path | None, done: set[str]) -> Iterator[dict[str, Any]]:
    """Rows that are not done: first what is simulated, then real scans, each seed by seed."""
    names = [name for name in heads.paths if min(heads.real(name).signal.shape[:3]) >= LEAST_SLICES]
    for seed in range(seeds):
        if only in HEAD and (key := f"{HEAD} {seed}") not in done:
            by, scan = simulated(make_phantom(HEAD_MM, seed=seed).subject, seed)
            yield {"key": key, "kind": HEAD, "scan": HEAD, "by": by} | trial(scan, seed, bundle, whole=True)
        for name in names:
            if (key := f"simulated {name} {seed}") not in done and (subject := heads.subject(name)) is not None:
                by, scan = simulated(subject, seed)
                row = trial(scan, seed, bundle, whole=True)
                yield {"key": key, "kind": "simulated", "scan": name, "by": by} | row
    for seed in range(seeds):
        for name in names:
            for kind, take in (("real 6+1", heads.few), ("real", heads.real)):
                if (key := f"{kind} {name} {seed}") not in done:
                    row = trial(take(name), seed, bundle, whole=seed == 0)
                    yield {"key": key, "kind": kind, "scan": name, "by": kind} | row


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of BIDS datasets with real scans.")] = None,
    aligned: Annotated[Path | None, typer.Option(help="Folder of motion.py's aligned scans.")] = None,
    seeds: Annotated[int, typer.Option(help="Protocols, noises and faults.")] = 20,
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for quality.jsonl and quality.md.")] = Path("quality"),
) -> None:
    """Make the tables."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "quality.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    began = time.perf_counter()
    done = {row["key"] for row in found}
    for row in rows(Heads(data, aligned, only), seeds, only, bundle, done):
        found.append(row)
        with file.open("a") as log:
            log.write(json.dumps(row) + "\n")
        rung = [name for name, value in row.get("alarms", {}).items() if value]
        missed = [name for name, value in row["caught"].items() if not value]
        typer.echo(f"{time.perf_counter() - began:6.0f} s {row['key']} ({row['by']}): alarms {rung}, missed {missed}")
    text = "\n\n".join([table(found), untouched(found)]) + "\n"
    (output / "quality.md").write_text(text)
    typer.echo(text)


def table(found: list[dict[str, Any]]) -> str:
    """Detection and false alarms: by protocol for what is simulated, by scan for what is real, and in all."""
    lines = ["| scans | | " + " | ".join((*FAULTS, "any")) + " |", "|---" * (len(FAULTS) + 3) + "|"]
    clean = [row for row in found if not row["kind"].startswith("real")]
    parts = [(f"simulated, {by}", [r for r in clean if r["by"] == by]) for by in protocols()]
    parts += [(f"simulated, {kind}", [r for r in clean if r["kind"] == kind]) for kind in ("simulated", HEAD)]
    parts += [("all simulated", clean)]
    parts += [(f"all {kind}", [r for r in found if r["kind"] == kind]) for kind in ("real", "real 6+1")]
    for title, some in parts:
        title = title.replace("simulated, simulated", "simulated, of real heads")
        caught = [[row["caught"][fault] for row in some if fault in row["caught"]] for fault in FAULTS]
        if any(caught):
            lines.append(f"| {title} | caught | " + " | ".join(map(_share, caught)) + " | |")
        if title.startswith(("simulated", "all simulated")) and some:
            rung = [[row["alarms"][fault] for row in some] for fault in FAULTS]
            whole = [any(row["alarms"].values()) for row in some]
            lines.append(f"| {title} | false alarms | " + " | ".join(map(_share, [*rung, whole])) + " |")
    return "\n".join(lines)


def _share(told: list[bool]) -> str:
    return f"{sum(told)}/{len(told)} ({100 * sum(told) / len(told):.1f} %)" if told else ""


def untouched(found: list[dict[str, Any]]) -> str:
    """What is said of the real scans as they are."""
    lines = ["| real scan, untouched | verdict | mm largest, span | lead of a flip | alarms |", "|---|---|---|---|---|"]
    for row in found:
        if row["kind"].startswith("real") and "alarms" in row:
            told = row["told"]
            rung = ", ".join(name for name, value in row["alarms"].items() if value)
            title = row["scan"] + row["kind"].removeprefix("real")
            mm = ", ".join("" if v is None else f"{v:.1f}" for v in told["MotionMm"])
            leads = ", ".join("" if v is None else f"{v:.1f}" for v in told["FlipLead"])
            lines.append(f"| {title} | {told['Verdict']} | {mm} | {leads} | {rung} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)

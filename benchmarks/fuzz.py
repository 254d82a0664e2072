"""Spoiled input in numbers: what `edge-pigment run`, its dry run and `watch` make of thousands of damaged scans.

    python benchmarks/fuzz.py --count 3000 --seed 1
    python benchmarks/fuzz.py --seed 1 --only 812 813       these two once more, with what was said

A tiny scan of the digital head is written to a folder, spoiled in one way (`mutations.py`), and run in this process as
it would be typed. The outcome is one of

    ok        exit code 0, and maps near those of the scan that was not spoiled, or none were to be written
    told      exit code 0, other maps, and a warning, or a verdict other than "usable"
    refused   exit code 2 or 3 and exactly one line that says why
    nonsense  exit code 0, maps far from the right ones, "usable", and no word of it
    fault     "this is a fault of edge-pigment", a traceback, more than one line, or another exit code
    uneven    the dry run ended otherwise than the run
    litter    something was left behind beside the result, or the input was changed
    crash     the process died or hung

Far: median FA off by .05, median MD by 10 %, or the mask by 30 %. Some nonsense cannot be noticed by anybody (another
plausible b-value in one place); the table says which mutations it came from.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mutations import MUTATIONS, Scan

GOOD = ("ok", "told", "refused")
FA_OFF, MD_OFF, MASK_OFF = 0.05, 0.10, 0.30
SECONDS = 60
"""After which a run hangs."""
PICTURES_EVERY = 10
"""Runs of which one draws sheet and report, which take longer than everything else."""


class Outcome(NamedTuple):
    """Of one mutated scan: its number, how it was spoiled, what came out, and what was said."""

    number: int
    mutation: str
    kind: str
    said: str
    command: str = ""


class Summary(NamedTuple):
    """Of maps: median FA and MD in the mask, the mask, what was warned of, and the verdict."""

    fa: float
    md: float
    mask: np.ndarray[Any, Any]
    warnings: frozenset[str]
    verdict: str


def make_scans(folder: Path) -> list[Scan]:
    """Tiny scans of the digital head: six directions as .nii.gz, twelve as .nii, twelve in two shells of floats."""
    from edge_pigment.phantom import make_phantom
    from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan, write_scan

    subject = make_phantom(seed=1).subject
    plans = (
        ("six", (Shell(b=1000.0, directions=6),), 1, True),
        ("twelve", (Shell(b=1000.0, directions=12),), 2, True),
        ("shells", (Shell(b=700.0, directions=6), Shell(b=1400.0, directions=9)), 1, False),
    )
    made = []
    for name, shells, b0, integers in plans:
        protocol = Protocol(voxel=(9.0, 9.0, 20.0), shells=shells, b0=b0)
        scan = simulate_scan(subject, protocol, Noise(snr=40.0), seed=1)
        path = write_scan(scan, folder / name / "scan", integers)
        if name != "six":
            # nibabel would scale anew, and with an intercept; files from scanners have none
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
            path = path.with_suffix("")
        made.append(Scan(path))
    for n, scan in enumerate(made):
        scan.other = made[(n + 1) % len(made)]
    return made


@contextmanager
def quick() -> Iterator[None]:
    """Open network and kernels once for all runs of this process."""
    from edge_pigment import pipeline

    really, opened = pipeline.open_tools, {}

    def open_tools(options: Any) -> Any:
        key = (options.bundle, options.device, options.threads, options.precision, options.network, options.public_key)
        if key not in opened:
            opened[key] = really(options)
        return opened[key]

    pipeline.open_tools = open_tools
    try:
        yield
    finally:
        pipeline.open_tools = really


@contextmanager
def drawn(wanted: bool) -> Iterator[None]:
    """With sheet and report, or with empty ones."""
    from PIL import Image

    from edge_pigment.outputs import write

    sheet, report = write.draw_sheet, write.draw_report
    if not wanted:
        write.draw_sheet = lambda *_: Image.new("RGB", (8, 8))
        write.draw_report = lambda *_: "<!doctype html>"
    try:
        yield
    finally:
        write.draw_sheet, write.draw_report = sheet, report


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    from typer.testing import CliRunner

    from edge_pigment.cli import app

    def hang(*_: object) -> None:
        raise TimeoutError("hangs")

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        done = CliRunner().invoke(app, list(arguments))
    finally:
        signal.alarm(0)
    stderr = done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        stderr += f"\nTraceback: {type(done.exception).__name__}: {done.exception}"
    return done.exit_code, done.stdout, stderr


def summarise(folder: Path) -> Summary:
    """Of the one result below a folder."""

    def image(pattern: str) -> Any:
        return np.asarray(nib.load(next(folder.rglob(pattern))).dataobj)

    mask = image("*_desc-brain_mask.nii.gz") > 0
    provenance = json.loads(next(folder.rglob("*_provenance.json")).read_text("utf-8"))
    fa, md = (float(np.median(image(f"*tensor_param-{name}_dwimap.nii.gz")[mask])) for name in ("fa", "md"))
    said = frozenset(provenance["Warnings"]) | frozenset(provenance["Screening"]["Findings"])
    return Summary(fa, md, mask, said, provenance["Quality"]["Verdict"])


def far(found: Summary, right: Summary) -> str:
    """What of the maps is far from the right ones; empty: nothing."""
    off = []
    if not abs(found.fa - right.fa) <= FA_OFF:
        off.append(f"FA {found.fa:.3f} for {right.fa:.3f}")
    if not abs(found.md / right.md - 1) <= MD_OFF:
        off.append(f"MD {1e3 * found.md:.3f} for {1e3 * right.md:.3f}")
    if found.mask.shape == right.mask.shape:
        apart = int((found.mask ^ right.mask).sum()) / right.mask.sum()
    else:
        apart = abs(found.mask.sum() / right.mask.sum() - 1)
    if apart > MASK_OFF:
        off.append(f"mask off by {100 * apart:.0f} %")
    return ", ".join(off)


def refusal_is_plain(stderr: str) -> bool:
    """One line that begins with what it is, beside what is said on the way; or the command line's own usage."""
    errors = [line for line in stderr.splitlines() if line.startswith("edge-pigment: error: ")]
    usage = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    return len(errors) + len(usage) == 1


def fault_in(stderr: str) -> bool:
    return "fault of edge-pigment" in stderr or "Traceback" in stderr


def judge(code: int, stderr: str, out: Path, right: Summary | None, wants_maps: bool) -> tuple[str, str]:
    """Kind of an outcome, and what is said of it."""
    last = stderr.splitlines()[-1] if stderr.strip() else ""
    if fault_in(stderr):
        return "fault", next(line for line in stderr.splitlines() if fault_in(line))
    if code in (2, 3):
        return ("refused", last) if refusal_is_plain(stderr) else ("fault", f"not one line: {stderr[-400:]!r}")
    if code:
        return "fault", f"exit code {code}: {last}"
    if not wants_maps:
        return "ok", ""
    found = summarise(out)
    if right is None:
        return "ok", ""
    off = far(found, right)
    if not off:
        return "ok", ""
    told = found.warnings - right.warnings
    if found.verdict != "usable" or told:
        return "told", f"{off}; {found.verdict}: {next(iter(told), '')}"
    return "nonsense", off


def fuzz_one(number: int, seed: int, bases: list[Scan], rights: list[Summary], work: Path) -> Outcome:
    """Spoil one scan and run it."""
    rng = np.random.default_rng([seed, number])
    which = int(rng.integers(len(bases)))
    weights = np.array([weight for _, weight in MUTATIONS])
    mutate = MUTATIONS[int(rng.choice(len(MUTATIONS), p=weights / weights.sum()))][0]
    folder = work / "in"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(bases[which].image.parent, folder)
    scan = Scan(folder / bases[which].image.name, bases[which].other)
    given = list(mutate(scan, rng))
    name = f"{mutate.__name__} ({bases[which].image.parent.name})"
    before = contents(folder)
    arguments = ["run", str(scan.image), "-o", str(work / "out"), "--device", "cpu", "--threads", "2", *given]
    with drawn(number % PICTURES_EVERY == 0):
        code, _, stderr = invoke(*arguments)
    wants_maps = "--dry-run" not in given
    kind, said = judge(code, stderr, work / "out", rights[which] if scan.comparable else None, wants_maps)
    left = sorted(p.name for p in work.iterdir())
    expected = ["in", "out"] if code == 0 and wants_maps else ["in"]
    if kind in GOOD and (left != expected or contents(folder) != before):
        kind, said = "litter", f"{left}"
    if kind in GOOD:
        shutil.rmtree(work / "out", ignore_errors=True)
        planned, _, its = invoke(*arguments, "--dry-run")
        if fault_in(its):
            kind, said = "fault", f"dry run: {its.splitlines()[-1]}"
        elif planned != code:
            kind, said = "uneven", f"dry run {planned}, run {code}: {(its if planned else stderr).splitlines()[-1]}"
    if kind in GOOD and number % 4 == 0 and not given:
        _, _, watched = invoke("watch", str(folder), "--once", "--threads", "2", "--json")
        if fault_in(watched):
            kind, said = "fault", f"watch: {watched.splitlines()[-1]}"
    return Outcome(number, name, kind, said.replace(str(work), "WORK"), " ".join(map(repr, given)))


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def work_through(numbers: list[int], seed: int, base: Path, queue: Any) -> None:
    """One process's share; each number is told before it is tried, so that a crash can be told from the rest."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # as long as the process lives
    bases = sorted_scans(base)
    with quick():
        rights = [right_of(scan) for scan in bases]
        for number in numbers:
            queue.put(number)
            with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
                queue.put(tuple(fuzz_one(number, seed, bases, rights, Path(work) / "w")))
    queue.put(None)


def sorted_scans(base: Path) -> list[Scan]:
    """The scans that `make_scans` wrote."""
    names = (base / "six" / "scan.nii.gz", base / "twelve" / "scan.nii", base / "shells" / "scan.nii")
    made = [Scan(name) for name in names]
    for n, scan in enumerate(made):
        scan.other = made[(n + 1) % len(made)]
    return made


def right_of(scan: Scan) -> Summary:
    """The maps of a scan that was not spoiled."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work, drawn(False):
        out = Path(work) / "out"
        code, _, stderr = invoke("run", str(scan.image), "-o", str(out), "--device", "cpu", "--threads", "2")
        if code:
            raise SystemExit(f"{scan.image.parent.name}: {stderr}")
        return summarise(out)


def spread(numbers: list[int], seed: int, base: Path, processes: int) -> list[Outcome]:
    """All outcomes, by several processes; one that dies is replaced and its scan counted as a crash."""
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("spawn")
    shares = [numbers[n::processes] for n in range(processes)]
    running = []
    for share in shares:
        queue = context.Queue()
        process = context.Process(target=work_through, args=(share, seed, base, queue))
        process.start()
        running.append([process, queue, share, None])
    while running:
        for entry in list(running):
            process, queue, share, current = entry
            try:
                message = queue.get(timeout=0.2)
            except Exception:
                if process.is_alive():
                    continue
                if current is None:
                    raise SystemExit(f"a process did not start (exit code {process.exitcode})") from None
                outcomes.append(told(Outcome(current, "?", "crash", f"exit code {process.exitcode}")))
                left = share[share.index(current) + 1 :]
                running.remove(entry)
                if left:
                    queue = context.Queue()
                    process = context.Process(target=work_through, args=(left, seed, base, queue))
                    process.start()
                    running.append([process, queue, left, None])
                continue
            if message is None:
                process.join()
                running.remove(entry)
            elif isinstance(message, int):
                entry[3] = message
            else:
                outcomes.append(told(Outcome(*message)))
    return sorted(outcomes)


def told(outcome: Outcome) -> Outcome:
    """Print what is not good as soon as it is known."""
    if outcome.kind not in GOOD:
        print(f"{outcome.number:5d} {outcome.kind:8s} {outcome.mutation} {outcome.command}: {outcome.said}", flush=True)
    return outcome


def table(outcomes: list[Outcome]) -> str:
    """Counts by mutation and kind."""
    kinds = ["ok", "told", "refused", "nonsense", "fault", "uneven", "litter", "crash"]
    names = sorted({outcome.mutation.split(" (")[0] for outcome in outcomes})
    lines = ["mutation".ljust(18) + "".join(kind.rjust(10) for kind in kinds)]
    for name in [*names, "all"]:
        found = Counter(o.kind for o in outcomes if name in ("all", o.mutation.split(" (")[0]))
        lines.append(name.ljust(18) + "".join(str(found[kind]).rjust(10) for kind in kinds))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of single scans")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the outcomes there")
    options = parser.parse_args()
    numbers = options.only or list(range(options.count))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        make_scans(Path(base))
        outcomes = spread(numbers, options.seed, Path(base), min(options.processes, len(numbers)))
    for outcome in outcomes:
        if outcome.kind in GOOD and options.only:
            print(f"{outcome.number:5d} {outcome.kind:8s} {outcome.mutation} {outcome.command}: {outcome.said}")
    print(table(outcomes))
    print(f"{time.perf_counter() - began:.0f} s, seed {options.seed}")
    if options.json:
        options.json.write_text(json.dumps([outcome._asdict() for outcome in outcomes], indent=1))
    sys.exit(any(outcome.kind not in GOOD for outcome in outcomes))


if __name__ == "__main__":
    main()

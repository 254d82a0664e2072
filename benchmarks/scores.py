"""What an estimate is worth: errors, biases, and whether intervals cover what they say; tables and a figure of them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from methods import Estimate

Array = np.ndarray[Any, Any]
WHITE_FA = 0.3
"""Above, a voxel counts as white matter with a direction worth judging."""
GREY_FA, GREY_MD = 0.2, (0.6, 1.1)
"""Below this FA and within this MD (µm²/ms), a voxel counts as grey matter."""
NORMAL_90 = 1.6449
LEVELS = {50: 0.6745, 80: 1.2816, 90: NORMAL_90, 95: 1.9600}
"""Per cent -> half-width of the central interval in standard deviations, of a normal distribution."""
MAIN = ("FA_MAE", "FA_MAE/WLS", "MD_MAE", "MD_MAE/WLS", "V1_median_deg", "V1_median_deg/WLS", "FA_bias_grey",
        "FA_bias_white", "FA_cover_90", "MD_cover_90")  # fmt: skip
"""Measures of the main table."""
SCALARS = ("fa", "md", "ad", "rd")
FA_BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)


def judge(estimate: Estimate, truth: Estimate, where: Array) -> dict[str, float]:
    """Errors inside `where` (X, Y, Z); intervals are widened by the truth's own standard deviation, if it has one."""
    fa, md = truth.fa[where], truth.md[where]
    white, grey = fa > WHITE_FA, (fa < GREY_FA) & (md > GREY_MD[0]) & (md < GREY_MD[1])
    off = _differences(estimate, truth, where)
    d_fa, d_md = off["FA"], off["MD"]
    cosine = np.abs(np.sum(estimate.v1[where] * truth.v1[where], axis=-1))[white]
    row = {
        "FA_MAE": np.abs(d_fa).mean(),
        "MD_MAE": np.abs(d_md).mean(),
        "V1_median_deg": np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1)))),
        "FA_bias_grey": d_fa[grey].mean(),
        "FA_bias_white": d_fa[white].mean(),
    }
    for low, high in pairwise(FA_BINS):
        inside = (fa >= low) & (fa < high)
        if inside.any():
            for name, d in off.items():
                row[f"{name}_bias_{low:g}"] = d[inside].mean()
    if estimate.fa_sd is not None and estimate.md_sd is not None and estimate.v1_sd is not None:
        wide = {}
        for name, d in off.items():
            sd = getattr(estimate, f"{name.lower()}_sd")
            if sd is not None:
                both = np.hypot(sd, _or_zero(getattr(truth, f"{name.lower()}_sd")))[where]
                wide[name] = np.abs(d) / both
        # the angles' root mean square, spread over two dimensions: a Rayleigh distribution
        both = np.hypot(estimate.v1_sd, _or_zero(truth.v1_sd))[where][white]
        cone = np.arccos(np.clip(cosine, 0, 1)) / np.radians(both)
        for level, width in LEVELS.items():
            for name, z in wide.items():
                row[f"{name}_cover_{level}"] = np.mean(z < width)
                row[f"{name}_cover_{level}_grey"] = np.mean(z[grey] < width)
                row[f"{name}_cover_{level}_white"] = np.mean(z[white] < width)
            row[f"V1_cover_{level}_white"] = np.mean(cone < np.sqrt(-np.log(1 - level / 100)))
    return {k: float(v) for k, v in row.items()}


def _differences(estimate: Estimate, truth: Estimate, where: Array) -> dict[str, Array]:
    """Estimate less truth, (V,), of each scalar that both have."""
    maps = {name.upper(): (getattr(estimate, name), getattr(truth, name)) for name in SCALARS}
    both = {name: pair for name, pair in maps.items() if pair[0] is not None and pair[1] is not None}
    return {name: found[where] - known[where] for name, (found, known) in both.items()}


def _or_zero(sd: Array | None) -> Array | float:
    """The truth's own standard deviation; 0 where it is exact."""
    return 0.0 if sd is None else sd


def bootstrap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean of each measure over the scans, with the 95 % percentile interval of 1000 resamplings of the scans."""
    rng = np.random.default_rng(0)
    out = []
    for cell in dict.fromkeys(r["cell"] for r in rows):
        wls = {r["scan"]: r for r in rows if r["cell"] == cell and r["method"] == "WLS"}
        for method in dict.fromkeys(r["method"] for r in rows):
            group = [r for r in rows if r["cell"] == cell and r["method"] == method]
            line: dict[str, Any] = {"cell": cell, "method": method}
            for key in [k for k in (group[0] if group else {}) if k not in ("scan", "cell", "method")]:
                values = np.array([r[key] for r in group if key in r])
                line[key] = float(values.mean())
                resampled = values[rng.integers(0, len(values), (1000, len(values)))].mean(1)
                line[f"{key}_95"] = [float(v) for v in np.quantile(resampled, [0.025, 0.975])]
            for key in ("FA_MAE", "MD_MAE", "V1_median_deg"):
                if group and wls:
                    line[f"{key}/WLS"] = float(np.mean([r[key] / wls[r["scan"]][key] for r in group]))
            if group:
                out.append(line)
    return out


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as a person reads it."""
    body = [[r["cell"], r["method"], *(f"{r[k]:.3f}" if k in r else "" for k in MAIN)] for r in rows]
    return _table(["protocol", "method", *(k.replace("_", " ") for k in MAIN)], body)


def main_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the main table's measures only."""
    keys = ("cell", "method", *MAIN, *(f"{k}_95" for k in MAIN))
    return [{k: row[k] for k in keys if k in row} for row in rows]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def intervals(rows: list[dict[str, Any]]) -> str:
    """How often intervals cover the truth, by level and tissue."""
    body = []
    for r in rows:
        for what in ("FA", "MD", "AD", "RD", "V1"):
            for tissue in ("grey", "white"):
                keys = [f"{what}_cover_{level}_{tissue}" for level in LEVELS]
                if keys[0] in r:
                    body.append([r["cell"], r["method"], what, tissue, *(f"{r[k]:.3f}" for k in keys)])
    return _table(["protocol", "method", "of", "tissue", *(f"{level} %" for level in LEVELS)], body)


def biases(rows: list[dict[str, Any]]) -> str:
    """Biases of FA and of MD, AD and RD (µm²/ms) by bins of the true FA."""
    body = []
    for r in rows:
        for what in (name.upper() for name in SCALARS):
            keys = [f"{what}_bias_{low:g}" for low in FA_BINS[:-1]]
            if not any(k in r for k in keys):
                continue
            body.append([r["cell"], r["method"], what, *(f"{r[k]:+.3f}" if k in r else "" for k in keys)])
    bins = [f"{low:g}-{high:g}" for low, high in pairwise(FA_BINS)]
    return _table(["protocol", "method", "bias of", *bins], body)


def tenfold(rows: list[dict[str, Any]], few: str, many: str) -> str:
    """Ours with few volumes beside WLS with ten times as many, in one sentence; empty if either is missing."""
    found = {(r["cell"], r["method"]): r["FA_MAE"] for r in rows}
    ours, wls = found.get((few, "edge-pigment")), found.get((many, "WLS"))
    if ours is None or wls is None:
        return ""
    return f"Ten-fold: FA error {ours:.3f} with {few} against WLS's {wls:.3f} with {many}: {ours / wls:.2f} of it."


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Errors by protocol and method with their 95 % intervals, and the reliability of ours, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    cells = list(dict.fromkeys(r["cell"] for r in rows))
    methods = list(dict.fromkeys(r["method"] for r in rows))
    panels = {"FA_MAE": "FA, mean error", "MD_MAE": "MD, mean error (µm²/ms)", "V1_median_deg": "V1, median error (°)"}
    drawing, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for ax, (key, title) in zip(axes[:3], panels.items(), strict=True):
        for number, method in enumerate(methods):
            chosen = [r for r in rows if r["method"] == method]
            x = [cells.index(r["cell"]) + 0.8 * (number + 0.5) / len(methods) - 0.4 for r in chosen]
            ends = [[abs(r[key] - r[f"{key}_95"][side]) for r in chosen] for side in (0, 1)]
            ax.errorbar(x, [r[key] for r in chosen], ends, fmt="o", ms=4, capsize=2, label=method)
        ax.set(title=title, ylim=(0, None))
        ax.set_xticks(range(len(cells)), [c.replace(", ", "\n").replace(" vs", "\nvs") for c in cells], fontsize=7)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    axes[3].plot([50, 95], [50, 95], color="0.6", lw=1)
    for r in rows:
        if "FA_cover_50" in r:
            covered = [100 * r[f"FA_cover_{level}"] for level in LEVELS]
            axes[3].plot(list(LEVELS), covered, "o-", ms=3, label=f"FA, {r['cell']}")
    axes[3].set(title="Intervals of FA: covered (%)", xlabel="promised (%)")
    axes[3].legend(fontsize=6)
    axes[3].grid(alpha=0.3)
    drawing.savefig(path, dpi=120)
    plt.close(drawing)

"""What the network and the kernels would take on a Jetson if its published ceilings were reached: a projection.

    python benchmarks/projection.py

Nothing here was measured on a Jetson. Operations of the kernels are counted (counting.py), those of the network are
read from the bundle's ONNX file (needs `onnx`); bytes are the least that must move: each measurement once per kernel,
each convolution's input and output once, in 16 bits. A step takes as long as the slower of the two, at the ceiling.
"""

from dataclasses import dataclass
from typing import Any

from counting import Operations, count, traffic
from edge_pigment.prior.bundle import load_bundle
from kernels import NU, simulate

VOXELS, MEASUREMENTS = 128 * 128 * 60, 33
CLOCKED = 1e9


@dataclass(frozen=True)
class Jetson:
    """Published figures: multiprocessors of 128 FP32 lanes, GHz at most, GB/s, and FP16 multiply-adds per clock of a
    multiprocessor's tensor cores, dense."""

    name: str
    processors: int
    ghz: float
    gb_per_s: float
    tensor: int
    source: str

    @property
    def lanes_per_s(self) -> float:
        """FP32 instructions per second."""
        return self.processors * 128 * self.ghz * CLOCKED

    @property
    def tensor_per_s(self) -> float:
        """FP16 multiply-adds per second."""
        return self.processors * self.tensor * self.ghz * CLOCKED


# 1024 multiply-adds per clock: 20 dense INT8 TOPS of an Orin Nano 8 GB, 85 of an AGX Orin, and half of that in FP16.
# 4096: 2070 sparse FP4 TFLOPS of a Thor T5000 are 517 dense in FP8 and half of that in FP16.
JETSONS = (
    Jetson("Orin Nano 8 GB", 8, 0.625, 68.0, 1024, "NVIDIA, Jetson Orin Nano Series Modules Data Sheet (2023)"),
    Jetson("Orin Nano Super", 8, 1.02, 102.0, 1024, "NVIDIA, Jetson Orin Nano Super Developer Kit Data Sheet (2024)"),
    Jetson("Orin NX 16 GB", 8, 0.918, 102.4, 1024, "NVIDIA, Jetson Orin NX Series Modules Data Sheet (2023)"),
    Jetson("AGX Orin 64 GB", 16, 1.3, 204.8, 1024, "NVIDIA, Jetson AGX Orin Series Technical Brief v1.2 (2022)"),
    Jetson("Thor T5000", 20, 1.57, 273.0, 4096, "NVIDIA, Jetson Thor Series Modules Data Sheet (2025)"),
)


def network() -> tuple[int, int]:
    """Multiply-adds and bytes of activations, in and out of each convolution, per voxel of the shipped network."""
    import onnx
    from onnx import numpy_helper

    bundle = load_bundle(None)
    graph: Any = onnx.load(str(bundle.model("fp32"))).graph
    weights = {w.name: numpy_helper.to_array(w).shape for w in graph.initializer}
    channels = 0
    for node in graph.node:
        if node.op_type == "Conv":
            out, per_group, *_ = weights[node.input[1]]
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            channels += out + per_group * group
    return bundle.manifest.multiply_adds_per_voxel, 2 * channels


def issued(operations: Operations) -> float:
    """Instructions of a thread that go through an FP32 lane; a division or root counted as two."""
    o = operations
    return o.arithmetic + o.select + o.integer + 2 * (o.divide + o.root)


def main() -> None:
    """Print the table."""
    kernels = count(simulate(2000, MEASUREMENTS), NU)
    bytes_of = traffic(MEASUREMENTS)
    multiply_adds, activations = network()
    print(
        "**A projection, not a measurement**: times at the published ceilings, ms, for all voxels of 128x128x60x33.\n"
    )
    print("| per voxel | FP32 instructions | FP16 multiply-adds | bytes |")
    print("|---|---|---|---|")
    for name, operations in kernels.items():
        print(f"| {name} | {issued(operations):.0f} | | {bytes_of[name]} |")
    print(f"| network | | {multiply_adds} | {activations} |\n")
    print("| device | " + " | ".join(kernels) + " | network, FP16 | sum | at 50 % of the ceilings |")
    print("|---" * (len(kernels) + 4) + "|")
    for jetson in JETSONS:
        bandwidth = jetson.gb_per_s * CLOCKED
        times = [
            max(issued(operations) / jetson.lanes_per_s, bytes_of[name] / bandwidth)
            for name, operations in kernels.items()
        ]
        times.append(max(multiply_adds / jetson.tensor_per_s, activations / bandwidth))
        ms = [1e3 * VOXELS * t for t in times]
        cells = " | ".join(f"{t:.1f}" for t in [*ms, sum(ms), 2 * sum(ms)])
        print(f"| {jetson.name} | {cells} |")
    print("\nCeilings: " + "; ".join(f"{j.name}: {j.source}" for j in JETSONS) + ".")


if __name__ == "__main__":
    main()

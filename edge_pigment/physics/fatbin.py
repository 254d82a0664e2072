"""The CUDA kernels compiled: fatbins for the GPUs that are known, made once and shipped.

    python -m edge_pigment.physics.fatbin            # compile them all; needs nvcc of CUDA 13
    python -m edge_pigment.physics.fatbin --report   # what the compiler says of registers and memory

A console needs no compiler. `fatbins.json` beside the sources records what they were made from, so that a test fails
when a source has changed since.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

KERNELS: Final = Path(__file__).with_name("kernels")
RECORD: Final = KERNELS / "fatbins.json"
MODULES: Final = ("summarise", "adapt", "moments", "features")
ARCHITECTURES: Final = (75, 80, 86, 87, 89, 90, 100, 110, 120)
"""Turing; A100; RTX 30; Orin; RTX 40; H100; B200; Thor; RTX 50. Code for 100 and 120 also runs on 103 and 121."""
PTX: Final = 120
"""Intermediate code, which a driver compiles for GPUs that are newer still."""
FLAGS: Final = ("-std=c++17", "-O3", "-prec-div=false", "-prec-sqrt=false")
"""Division and root within 2 units in the last place: exact ones cost a pass over the measurements a third more."""


class Usage(NamedTuple):
    """What a kernel takes of a GPU: registers of a thread; bytes of its stack, and of registers spilt to memory."""

    registers: int
    stack: int
    spilled: int


def find_nvcc() -> Path | None:
    """The CUDA compiler: on the path, below CUDA_HOME or CUDA_ROOT, or where toolkits are installed by default."""
    found = shutil.which("nvcc")
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_ROOT"), "/usr/local/cuda"]
    candidates = [Path(found)] if found else [Path(root, "bin", "nvcc") for root in roots if root]
    return next((path for path in candidates if path.is_file()), None)


def source_hash() -> str:
    """SHA-256 of all that the fatbins are made from: sources, headers, flags and architectures."""
    digest = hashlib.sha256(repr((FLAGS, ARCHITECTURES, PTX, MODULES)).encode())
    sources = [*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh"), KERNELS / "tasks.h"]
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def record() -> dict[str, Any]:
    """What the shipped fatbins were made from: hash of the sources, nvcc, architectures, hashes of the files."""
    content: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    return content


def path_of(module: str) -> Path:
    """Where a module's fatbin lies."""
    return KERNELS / f"{module}.fatbin"


def build(nvcc: Path) -> None:
    """Compile every module for every architecture, and record what they were made from.

    Raises:
        subprocess.CalledProcessError: nvcc refuses; what it says is on stderr.
    """
    targets = [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in ARCHITECTURES]
    targets.append(f"-gencode=arch=compute_{PTX},code=compute_{PTX}")
    with tempfile.TemporaryDirectory() as folder:
        for module in MODULES:
            output = ["--compress-mode=size", "-fatbin", "-o", str(Path(folder, f"{module}.fatbin"))]
            subprocess.run([nvcc, *FLAGS, *targets, *output, KERNELS / f"{module}.cu"], check=True)
        made = {}
        for module in MODULES:
            content = Path(folder, f"{module}.fatbin").read_bytes()
            path_of(module).write_bytes(content)
            made[module] = hashlib.sha256(content).hexdigest()
    found = {
        "sources": source_hash(),
        "nvcc": version(nvcc),
        "architectures": list(ARCHITECTURES),
        "ptx": PTX,
        "sha256": made,
    }
    RECORD.write_text(json.dumps(found, indent=1) + "\n")


def version(nvcc: Path) -> str:
    """The toolkit's version, such as 13.0."""
    said = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"release (\d+\.\d+)", said)
    return found[1] if found else said.strip().splitlines()[-1]


def usage(nvcc: Path, module: str, sm: int) -> dict[str, Usage]:
    """The compiler's report on each kernel of a module for one architecture.

    Raises:
        subprocess.CalledProcessError: nvcc refuses; what it says is in the error's stderr.
    """
    command: list[str | Path] = [nvcc, *FLAGS, f"-arch=sm_{sm}", "-Xptxas=-v", "-cubin", "-o", os.devnull]
    command.append(KERNELS / f"{module}.cu")
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers",
        said,
        re.DOTALL,
    )
    return {
        kernel: Usage(int(registers), int(stack), int(stores) + int(loads))
        for kernel, stack, stores, loads, registers in found
    }


def main(arguments: list[str]) -> int:
    """Compile the fatbins, or report on the kernels; returns the exit status."""
    nvcc = find_nvcc()
    if nvcc is None:
        print("no nvcc on the path, below CUDA_HOME or in /usr/local/cuda: install the CUDA toolkit", file=sys.stderr)
        return 1
    try:
        if "--report" not in arguments:
            build(nvcc)
        for module in MODULES:
            if "--report" in arguments:
                for sm in ARCHITECTURES:
                    for kernel, used in usage(nvcc, module, sm).items():
                        print(
                            f"sm_{sm:<4}{kernel:20} {used.registers:4} registers, {used.stack} bytes of stack, "
                            f"{used.spilled} spilled"
                        )
            else:
                print(f"{path_of(module)}: {path_of(module).stat().st_size / 1024:.0f} KiB")
    except subprocess.CalledProcessError as error:
        print(error.stderr or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Compiles the kernels for this machine's kind of processor; everything else stands in pyproject.toml."""

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

KERNELS = Path("edge_pigment/physics/kernels")
SOURCES = [KERNELS / "host.cpp", KERNELS / "host_variant.cpp"]
HEADERS = sorted([*KERNELS.glob("*.cuh"), *KERNELS.glob("*.h")])

# One object of host_variant.cpp per instruction set. The library starts on every machine of its kind and chooses the
# widest set that the machine has at run time, so no flag here may leak into host.cpp.
X86 = {
    "sse2": ["-msse2"],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
VARIANTS = {"x86_64": X86, "amd64": X86, "aarch64": {"neon": []}, "arm64": {"neon": []}}
# Contraction into fused multiply-adds is wanted (GCC's default, not clang's), -ffast-math is not: NaN marks what was
# not measured.
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fvisibility=hidden", "-Wno-psabi"]
NO_COMPILER = (
    "edge-pigment: no C++17 compiler: '{compiler}' does not compile a test program; "
    "install g++ or clang++, or set CXX to one"
)


class BuildKernels(build_ext):
    """Builds a plain shared library, which ctypes loads: it holds nothing of Python's C interface."""

    def get_ext_filename(self, fullname: str) -> str:
        """The same name for every Python, as the library does not depend on it."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile each variant and host.cpp, and link them."""
        compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
        if "CXX" not in os.environ and not _compiles(compiler):
            compiler = ["g++"]
        if not _compiles(compiler):
            raise CompileError(NO_COMPILER.format(compiler=" ".join(compiler)))
        variants = VARIANTS.get(platform.machine().lower(), {"generic": []})
        folder, library = Path(self.build_temp), Path(self.get_ext_fullpath(ext.name))
        folder.mkdir(parents=True, exist_ok=True)
        library.parent.mkdir(parents=True, exist_ok=True)
        objects = []
        for name, flags in variants.items():
            objects.append(folder / f"variant_{name}.o")
            _run([*compiler, *FLAGS, *flags, f"-DEP_NAMESPACE=ep_{name}", "-c", SOURCES[1], "-o", objects[-1]])
        objects.append(folder / "host.o")
        has = [f"-DEP_HAS_{name.upper()}" for name in variants]
        _run([*compiler, *FLAGS, *has, "-c", SOURCES[0], "-o", objects[-1]])
        # linked under another name and moved: a process that has the old one loaded keeps it whole
        unfinished = library.with_suffix(".part")
        _run([*compiler, "-shared", *objects, "-o", unfinished, "-pthread"])
        unfinished.replace(library)


class PlatformWheel(bdist_wheel):
    """One wheel per platform, for every Python 3 (the library does not depend on it)."""

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none-<platform>."""
        return "py3", "none", super().get_tag()[2]


def _run(command: list[object]) -> None:
    print(" ".join(str(part) for part in command), flush=True)
    try:
        subprocess.run([str(part) for part in command], check=True)
    except subprocess.CalledProcessError as error:
        raise CompileError(f"edge-pigment: the kernels do not compile: {error}") from None


def _compiles(compiler: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "test.cpp")
        source.write_text("#include <thread>\nint main() { if constexpr (sizeof(long) > 0) return 0; }\n")
        command = [*compiler, "-std=c++17", str(source), "-o", str(Path(folder, "test")), "-pthread"]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


if sys.platform == "win32":
    raise SystemExit("edge-pigment: Windows is not supported; use Linux (or WSL) or macOS")

setup(
    ext_modules=[
        Extension(
            "edge_pigment.physics._host",
            sources=[str(source) for source in SOURCES],
            depends=[str(header) for header in HEADERS],
            language="c++",
        )
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)

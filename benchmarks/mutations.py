"""The ways in which `benchmarks/fuzz.py` spoils the files of a scan and the options of a command.

Each mutation takes a `Scan` (files on disk, which it changes) and a random generator, and returns the options to add
to the command line. Its docstring says what it does; its name is what the table calls it.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

Rng = np.random.Generator
HEADER = 352


@dataclass
class Scan:
    """image, .nii or .nii.gz, with its tables; other: a scan that has nothing to do with it.

    comparable: whether the maps should be those of the scan that was not spoiled, or another word should be said.
    """

    image: Path
    other: "Scan | None" = None
    comparable: bool = True

    def table(self, kind: str) -> Path:
        """The .bval or .bvec."""
        return self.image.with_name(f"{self.image.name.split('.')[0]}.{kind}")

    def read(self) -> bytearray:
        """The image's bytes, decompressed."""
        raw = self.image.read_bytes()
        return bytearray(gzip.decompress(raw) if self.image.suffix == ".gz" else raw)

    def write(self, raw: bytes | bytearray) -> None:
        """Write them back."""
        self.image.write_bytes(gzip.compress(bytes(raw), 1) if self.image.suffix == ".gz" else bytes(raw))

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values."""
        return nib.load(self.image).get_data_dtype()


Mutation = Callable[[Scan, Rng], Sequence[str]]
FIELDS = {
    "sizeof_hdr": (0, "i"), "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"), "bitpix": (72, "h"),
    "pixdim": (76, "8f"), "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"), "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "3f"),
    "qoffset": (268, "3f"), "srow": (280, "12f"), "magic": (344, "4s"),
}  # fmt: skip
"""Of a NIfTI-1 header: offset, and type for `struct`."""
FLOATS = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-38, 1e38, -1e38, 1e-4, 1e4, 2.0, 0.5)
INTEGERS = (0, 1, -1, 2, 3, 5, 7, 255, 32767, -32768, 1000)


def _choice(rng: Rng, things: Sequence[object]) -> object:
    return things[int(rng.integers(len(things)))]


def header_bytes(scan: Scan, rng: Rng) -> Sequence[str]:
    """One to eight bytes of the header become others."""
    raw = scan.read()
    for _ in range(int(rng.integers(1, 9))):
        raw[int(rng.integers(HEADER))] = int(rng.integers(256))
    scan.write(raw)
    return ()


def header_field(scan: Scan, rng: Rng) -> Sequence[str]:
    """One or two fields of the header, or one of their elements, become extreme."""
    raw = scan.read()
    for _ in range(int(rng.integers(1, 3))):
        offset, kind = FIELDS[str(_choice(rng, list(FIELDS)))]
        letter, size = kind[-1], struct.calcsize(f"<{kind[-1]}")
        if letter == "s":
            raw[offset : offset + 4] = bytes(rng.integers(0, 256, 4, np.uint8))
            continue
        count = struct.calcsize(f"<{kind}") // size
        elements = range(count) if rng.random() < 0.2 else [int(rng.integers(count))]
        for n in elements:
            value = _choice(rng, FLOATS if letter == "f" else INTEGERS)
            value = abs(int(value)) % 256 if letter == "B" else value  # type: ignore[call-overload]
            struct.pack_into(f"<{letter}", raw, offset + n * size, value)
    scan.write(raw)
    return ()


def payload_bytes(scan: Scan, rng: Rng) -> Sequence[str]:
    """One to a thousand bytes of the voxels become others."""
    raw = scan.read()
    for _ in range(int(10 ** rng.uniform(0, 3))):
        raw[int(rng.integers(HEADER, len(raw)))] = int(rng.integers(256))
    scan.write(raw)
    return ()


def payload_block(scan: Scan, rng: Rng) -> Sequence[str]:
    """A stretch of the voxels becomes zero, one value, random, or a copy of another stretch."""
    raw = np.frombuffer(bytes(scan.read()), np.uint8).copy()
    size = int((len(raw) - HEADER) * rng.uniform(0.001, 0.6))
    start = int(rng.integers(HEADER, len(raw) - size))
    kind = int(rng.integers(4))
    if kind == 0:
        raw[start : start + size] = 0
    elif kind == 1:
        raw[start : start + size] = rng.integers(256)
    elif kind == 2:
        raw[start : start + size] = rng.integers(0, 256, size, np.uint8)
    else:
        source = int(rng.integers(HEADER, len(raw) - size))
        raw[start : start + size] = raw[source : source + size].copy()
    scan.write(raw.tobytes())
    return ()


def wild_values(scan: Scan, rng: Rng) -> Sequence[str]:
    """As floats: some or many voxels, a slice or a volume become NaN, infinite, huge, tiny, negative or zero."""
    image = nib.load(scan.image)
    data = np.asarray(image.dataobj, np.float32).copy()
    value = _choice(rng, (np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, 0.0, -1.0, 65535.0, 3e38))
    kind = int(rng.integers(4))
    if kind == 0:
        data[rng.random(data.shape) < 10 ** rng.uniform(-5, -0.3)] = value
    elif kind == 1:
        data[..., int(rng.integers(data.shape[2])), int(rng.integers(data.shape[3]))] = value
    elif kind == 2:
        data[..., int(rng.integers(data.shape[3]))] = value
    else:
        data *= np.float32(_choice(rng, (-1.0, 1e-30, 1e30, 1e-6, 1e6, 0.0)))
    made = nib.Nifti1Image(data, image.affine)
    made.header["sform_code"], made.header["qform_code"] = 1, 1
    nib.save(made, scan.image)
    return ()


def other_type(scan: Scan, rng: Rng) -> Sequence[str]:
    """The same values as another type, scaled to fit; byte order swapped or not."""
    image = nib.load(scan.image)
    data = np.asarray(image.dataobj, np.float64)
    kind = np.dtype(str(_choice(rng, ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "f2", "b1"))))
    if kind.kind in "iu":
        top = min(float(np.iinfo(kind).max), 1e6)
        data = np.round(data / data.max() * top)
    made_type = np.dtype("u1") if kind.kind == "b" else np.dtype("f4") if kind == np.float16 else kind
    header = nib.Nifti1Header(endianness=str(_choice(rng, "<>")))
    header.set_data_dtype(made_type)
    made = nib.Nifti1Image(data.astype(made_type), image.affine, header)
    nib.save(made, scan.image)
    return ()


def cut_short(scan: Scan, rng: Rng) -> Sequence[str]:
    """The file, as it is on disk, ends somewhere, or has something behind its end."""
    raw = scan.image.read_bytes()
    if rng.random() < 0.8:
        scan.image.write_bytes(raw[: int(len(raw) * rng.random())])
    else:
        scan.image.write_bytes(raw + bytes(rng.integers(0, 256, int(rng.integers(1, 5000)), np.uint8)))
    return ()


def stream_bytes(scan: Scan, rng: Rng) -> Sequence[str]:
    """Bytes of the file as it is on disk, compressed or not, become others."""
    raw = bytearray(scan.image.read_bytes())
    for _ in range(int(10 ** rng.uniform(0, 2))):
        raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
    scan.image.write_bytes(bytes(raw))
    return ()


def odd_container(scan: Scan, rng: Rng) -> Sequence[str]:
    """Compressed twice, not compressed but called .gz, in several members, empty, text, a folder, or another format."""
    raw = bytes(scan.read())
    kind = int(rng.integers(8))
    half = len(raw) // 2
    made = io.BytesIO()
    if kind == 0:
        made.write(gzip.compress(gzip.compress(raw)))
    elif kind == 1:
        made.write(raw)
    elif kind == 2:
        made.write(gzip.compress(raw[:half]) + gzip.compress(raw[half:]))
    elif kind == 3:
        pass
    elif kind == 4:
        made.write(b"patient;sequence;echo\n1;ep2d_diff;1\n" * 50)
    elif kind == 5:
        made.write(zlib.compress(raw))
    elif kind == 6:
        made.write(b"\x93NUMPY" + raw[:1000])
    else:
        scan.image.unlink()
        scan.image.mkdir()
        return ()
    scan.image.write_bytes(made.getvalue())
    return ()


def shape(scan: Scan, rng: Rng) -> Sequence[str]:
    """Another shape with the same voxels: 3D, 5D, axes exchanged, volumes or slices left out, one voxel thick."""
    image = nib.load(scan.image)
    data, affine = np.asarray(image.dataobj), image.affine
    kind = int(rng.integers(8))
    if kind == 0:
        data = data[..., 0]
    elif kind == 1:
        data = data[..., None]
    elif kind == 2:
        data = data[:, :, :, None, :]
    elif kind == 3:
        data = np.moveaxis(data, 3, int(rng.integers(3)))
    elif kind == 4:
        data = data[..., : int(rng.integers(1, data.shape[3] + 1))]
    elif kind == 5:
        axis = int(rng.integers(3))
        at = int(rng.integers(data.shape[axis]))
        data = np.take(data, range(at, at + 1), axis)
        scan.comparable = False
    elif kind == 6:
        data = np.concatenate([data, data], 3)
    else:
        data = data[: int(rng.integers(1, 4)), : int(rng.integers(1, 4)), : int(rng.integers(1, 4))]
        scan.comparable = False
    made = nib.Nifti1Image(np.ascontiguousarray(data), affine, image.header if rng.random() < 0.5 else None)
    nib.save(made, scan.image)
    return ()


def table_bytes(scan: Scan, rng: Rng) -> Sequence[str]:
    """One to six bytes of .bval or .bvec become others, or are taken out, or put in."""
    path = scan.table(str(_choice(rng, ("bval", "bvec"))))
    raw = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 7))):
        at, kind = int(rng.integers(len(raw))), int(rng.integers(3))
        if kind == 0:
            raw[at] = int(rng.integers(256))
        elif kind == 1:
            del raw[at]
        else:
            raw.insert(at, int(_choice(rng, list(b"0123456789.-+eE, \t\n\r\0nai/;#")))  # type: ignore[call-overload]
            )
    path.write_bytes(bytes(raw))
    return ()


def table_numbers(scan: Scan, rng: Rng) -> Sequence[str]:
    """A number of .bval or .bvec becomes extreme, or numbers, rows and columns are lost, doubled or turned around."""
    kind = str(_choice(rng, ("bval", "bvec")))
    path = scan.table(kind)
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    change = int(rng.integers(9))
    row = int(rng.integers(len(rows)))
    column = int(rng.integers(len(rows[row])))
    if change <= 2:
        wild = ("nan", "inf", "-inf", "1e308", "-1", "1e-300", "0", "1e5", "NaN", "-0", "1e400", "x", "0x1", "½", "1,5")
        rows[row][column] = str(_choice(rng, wild))
    elif change == 3:
        del rows[row][column]
    elif change == 4:
        rows[row].insert(column, rows[row][column])
    elif change == 5:
        rows = [list(line) for line in zip(*rows, strict=True)]
    elif change == 6:
        rows = [*rows, rows[row]]
    elif change == 7:
        factor = float(10 ** rng.uniform(-4, 4))
        rows = [[f"{float(word) * factor:g}" for word in line] for line in rows]
    else:
        rows = [line[::-1] for line in rows]
    path.write_text("\n".join(" ".join(line) for line in rows) + "\n", encoding="utf-8")
    return ()


def table_form(scan: Scan, rng: Rng) -> Sequence[str]:
    """The same numbers in another form of text, or no numbers at all."""
    path = scan.table(str(_choice(rng, ("bval", "bvec"))))
    text = path.read_text()
    forms: list[bytes] = [
        text.replace("\n", "\r").encode(), text.replace("\n", "\r\n").encode(), text.encode("utf-16"),
        b"\xef\xbb\xbf" + text.encode(), text.replace(" ", ",").encode(), text.replace(" ", ";").encode(),
        text.replace(".", ",").encode(), b"", b"\0" * 100, text.replace(" ", "\n").encode(), b"[" + text.encode(),
        text.encode() * 2, text.upper().encode(), b"# made by a scanner\n" + text.encode(), b" " * 10**6,
        "Ünïcödé ".encode("latin-1") + text.encode(),
    ]  # fmt: skip
    path.write_bytes(forms[int(rng.integers(len(forms)))])
    return ()


def files_exchanged(scan: Scan, rng: Rng) -> Sequence[str]:
    """Tables exchanged, those of another scan, missing, a folder or a link to nowhere; or given by option."""
    bval, bvec = scan.table("bval"), scan.table("bvec")
    kind = int(rng.integers(7))
    if kind == 0:
        one, two = bval.read_bytes(), bvec.read_bytes()
        bval.write_bytes(two)
        bvec.write_bytes(one)
    elif kind == 1 and scan.other:
        path = str(_choice(rng, ("bval", "bvec")))
        scan.table(path).write_bytes(scan.other.table(path).read_bytes())
    elif kind == 2:
        scan.table(str(_choice(rng, ("bval", "bvec")))).unlink()
    elif kind == 3:
        bval.unlink()
        bval.mkdir()
    elif kind == 4:
        bvec.unlink()
        bvec.symlink_to("nowhere")
    elif kind == 5:
        return ("--bval", str(bvec), "--bvec", str(bval))
    else:
        return ("--bval", str(scan.image), "--bvec", "/dev/null")
    return ()


def mask_option(scan: Scan, rng: Rng) -> Sequence[str]:
    """A mask that is random, empty, of another grid or type, damaged, or no image."""
    image = nib.load(scan.image)
    grid = image.shape[:3]
    path = scan.image.with_name("mask.nii.gz")
    kind = int(rng.integers(8))
    data = (rng.random(grid) < rng.random()).astype(np.uint8)
    if kind == 1:
        data[:] = 0
    elif kind == 2:
        data = np.ones(tuple(int(n) for n in rng.integers(1, 30, 3)), np.uint8)
    elif kind == 3:
        data = data[..., None]
    elif kind == 4:
        nib.save(nib.Nifti1Image(np.full(grid, np.nan, np.float32), image.affine), path)
        return ("--mask", str(path))
    elif kind == 5:
        data = np.ones(grid, np.uint8)
    elif kind == 6:
        path.write_bytes(bytes(rng.integers(0, 256, 400, np.uint8)))
        return ("--mask", str(path))
    elif kind == 7:
        return ("--mask", str(_choice(rng, ("", "/nowhere", str(scan.image), str(scan.image.parent), "/dev/null"))))
    nib.save(nib.Nifti1Image(data, image.affine), path)
    scan.comparable = False  # whoever gives a mask of noise gets maps of it
    return ("--mask", str(path))


def options(scan: Scan, rng: Rng) -> Sequence[str]:
    """Options at and beyond their limits, several at once, also those that do not go together."""
    numbers = ("0", "-1", "nan", "inf", "-inf", "1e-30", "1e30", "1e308", "1e-308", "", "x", "1", "10", "1e3", "٣")
    nowhere = ("", "/nowhere", ".", "/dev/null", "a\nb", "\x1b[31m", "x" * 300)
    offered: dict[str, Sequence[str] | None] = {
        "--sigma": numbers, "--threads": ("0", "-1", "1", "3", "1024", "1025", "99999999999", "x", ""),
        "--precision": ("fp32", "int8-cpu", "fp16", "int8-trt", "", "FP32", "fp32\n"),
        "--network": ("cpu", "auto", "tensorrt", "ort-cuda", "ort-tensorrt", "", "x"), "--device": ("cpu", "tpu"),
        "--bundle": nowhere, "--public-key": nowhere, "--bval": nowhere, "--bvec": nowhere, "--mask": nowhere,
        "--participant-label": ("1", "sub-1", "", "*", "../x"), "--json": None, "--quiet": None, "--overwrite": None,
        "--dry-run": None,
    }  # fmt: skip
    given: list[str] = []
    for name in rng.choice(list(offered), int(rng.integers(1, 5)), replace=False):
        values = offered[str(name)]
        given += [str(name)] if values is None else [str(name), str(_choice(rng, values))]
    return given


def none(scan: Scan, rng: Rng) -> Sequence[str]:
    """Nothing: what is said of it must be the same every time."""
    return ()


MUTATIONS: tuple[tuple[Mutation, float], ...] = (
    (header_bytes, 4), (header_field, 4), (payload_bytes, 2), (payload_block, 2), (wild_values, 3), (other_type, 1.5),
    (cut_short, 1), (stream_bytes, 1.5), (odd_container, 1), (shape, 2), (table_bytes, 3), (table_numbers, 3),
    (table_form, 1.5), (files_exchanged, 1), (mask_option, 1.5), (options, 2), (none, 0.3),
)  # fmt: skip
"""Each with how often it is drawn, relative to the others."""

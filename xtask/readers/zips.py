"""Zips by the programs that people have."""

import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

from checks import check, has, program, same

CHUNK_BYTES = 1 << 20
JAVA_SOURCE = Path(__file__).with_name("ReadZip.java")


def digest(stream):
    """Size and CRC-32 of what a stream holds."""
    size, crc = 0, 0
    while chunk := stream.read(CHUNK_BYTES):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return size, crc


def files_in(folder):
    def of(path):
        with path.open("rb") as file:
            return digest(file)

    return {path.name: of(path) for path in folder.iterdir()}


def with_zipfile(path, expected):
    with zipfile.ZipFile(path) as archive:
        # Reading an entry to its end checks its CRC.
        found = {}
        for name in archive.namelist():
            with archive.open(name) as entry:
                found[name] = digest(entry)
        same("names", sorted(expected), sorted(archive.namelist()))
    same_entries(expected, found)
    return f"{len(found)} entries"


def same_entries(expected, found):
    same("number of entries", len(expected), len(found))
    for name, entry in expected.items():
        same(name, entry, found.get(name))


def unpacked(path, expected, *command):
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        program(*command, cwd=folder)
        same_entries(expected, files_in(Path(folder)))
    return f"{len(expected)} entries unpacked"


def with_java(path, expected, reader):
    lines = program("java", str(JAVA_SOURCE), str(path)).decode("utf-8").split("\n")
    entries = [line.split("\t", 3) for line in lines if line.startswith(f"{reader}\t")]
    same_entries(expected, {name: (int(size), int(crc)) for _, size, crc, name in entries})
    return f"{len(entries)} entries"


def check_zip(path, what, expected, is_unpacked):
    """`expected` has (size, CRC-32) by name."""
    check("Python zipfile", what, lambda: with_zipfile(path, expected))
    if has("unzip", "unzip"):
        check("unzip -t", what, lambda: program("unzip", "-tq", str(path)).decode("utf-8", "replace").split(" of ")[0])
        if is_unpacked:
            check("unzip", what, lambda: unpacked(path, expected, "unzip", "-q", str(path)))
    if has("bsdtar", "libarchive-tools"):
        listed = lambda: program("bsdtar", "-tf", str(path)).decode("utf-8").splitlines()
        check("bsdtar -tf", what, lambda: same("names", sorted(expected), sorted(listed())))
        if is_unpacked:
            check("bsdtar -xf", what, lambda: unpacked(path, expected, "bsdtar", "-xf", str(path)))
        else:
            check("bsdtar -xOf", what, lambda: program("sh", "-c", 'bsdtar -xOf "$0" > /dev/null', str(path)).decode())
        # From a pipe, as in `curl … | bsdtar -x`: the directory is not available yet, only the
        # headers before and after each entry.
        piped = 'cat "$0" | bsdtar -xOf - > /dev/null'
        check("bsdtar from a pipe", what, lambda: program("sh", "-c", piped, str(path)).decode())
    if has("java", "default-jdk-headless"):
        for reader in ("ZipFile", "ZipInputStream"):
            check(f"Java {reader}", what, lambda: with_java(path, expected, reader))


def check_small(folder, fleet):
    for output, files in [("zip", "csv"), ("parquet_zip", "parquet")]:
        expected = files_in(folder / fleet / files)
        path = folder / fleet / output / "export.zip"
        # The manifest repeats the request, which differs.
        with zipfile.ZipFile(path) as archive, archive.open("manifest.json") as manifest:
            content = manifest.read()
            same("vehicles", True, len(json.loads(content)["vehicles"]) + 1 == len(expected))
            expected["manifest.json"] = digest(io.BytesIO(content))
        check_zip(path, f"{fleet}/{output}", expected, is_unpacked=True)


def check_large(folder):
    """What is in them is known: every file of the first is one line, every line of the second the same but for its time."""
    empty = digest(io.BytesIO(b"time\n"))
    path = folder / "many" / "export.zip"
    expected = {f"vehicle_{number:05}.csv": empty for number in range(70_000)}
    check_zip(path, "many", {**expected, "manifest.json": manifest_of(path)}, is_unpacked=False)

    first_ms, rows, text = 1_543_536_000_000, 5_400_000, b"x" * 1_000
    size, crc = len(b"time,text\n"), zlib.crc32(b"time,text\n")
    for start in range(first_ms, first_ms + rows, 1_000):
        chunk = b"".join(b"%d,%s\n" % (time_ms, text) for time_ms in range(start, start + 1_000))
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    same("more than 4 GiB", True, size > 1 << 32)
    path = folder / "long" / "export.zip"
    expected = {"vehicle_001.csv": (size, crc), "manifest.json": manifest_of(path)}
    print(f"  expected   long: {size} bytes in an archive of {path.stat().st_size}", flush=True)
    check_zip(path, "long", expected, is_unpacked=False)


def manifest_of(path):
    with zipfile.ZipFile(path) as archive, archive.open("manifest.json") as manifest:
        return digest(manifest)

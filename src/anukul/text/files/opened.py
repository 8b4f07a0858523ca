"""Open files, compressed or not, and read their lines; what cannot be read is named."""

import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from anukul.errors import UserError
from anukul.text.files.paths import compression_of

MAX_ROW = (
    64 << 20
)  # bytes of a line, characters of a cell; a longer one is no document and would fill the memory
BLOCK = 1 << 20


class CorruptFile(UserError):  # noqa: N818 - the name by which the other parts know it
    """A file that cannot be read, or not to its end: cut short, damaged, or something else than its name says."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = path
        self.reason = " ".join(reason.split())
        super().__init__(f"{path}: {self.reason}; repair the file, or leave it out")

    def __reduce__(self) -> tuple[type["CorruptFile"], tuple[Path | str, str]]:
        return CorruptFile, (self.path, self.reason)


class OddFile(CorruptFile):
    """A file that can be read and holds something else than the config says: among many, one may be left out."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.args = (f"{path}: {self.reason}",)  # there is nothing to repair

    def __reduce__(self) -> tuple[type["OddFile"], tuple[Path | str, str]]:
        return OddFile, (self.path, self.reason)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file's bytes into CorruptFile."""
    try:
        yield
    except EOFError:
        raise CorruptFile(path, "ends too early: it is cut short") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise CorruptFile(path, f"damaged: {error}") from None
    except OSError as error:  # also what pyarrow says of zstd
        raise CorruptFile(path, f"cannot be read: {error.strerror or error}") from None


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading its content, unpacked as its suffix says; raise CorruptFile where it cannot be."""
    with open_packed(path) as raw, _unpacked(path, raw) as file:
        yield file


@contextmanager
def open_packed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file as it lies on the disk; raise CorruptFile where it cannot be."""
    try:
        raw = path.open("rb", BLOCK)
    except OSError as error:
        raise CorruptFile(path, f"cannot be read: {error.strerror}") from None
    with raw:
        yield raw


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    kind = compression_of(path)
    with reading(path):
        if kind == "gzip":
            return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
        if kind == "xz":
            return cast(IO[bytes], lzma.LZMAFile(raw, "rb"))
        if kind == "zstd":
            import pyarrow as pa

            return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), BLOCK)
    return raw


@contextmanager
def open_seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading at any place; a compressed one is first unpacked to a file without name, on the disk."""
    if compression_of(path) is None:
        with open_bytes(path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:
        with open_bytes(path) as packed:
            for block in _blocks(path, packed):
                unpacked.write(block)
        unpacked.seek(0)
        yield unpacked


def _blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    while True:
        with reading(path):
            block = file.read(BLOCK)
        if not block:
            return
        yield block


def byte_lines(path: Path) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (line number, byte offset, line without its break); a byte order mark is left out.

    A line of more than `MAX_ROW` bytes is None. Offsets are those of the unpacked content.
    """
    offset, number = 0, 0
    with open_bytes(path) as file:
        while True:
            with reading(path):
                line = file.readline(MAX_ROW)
            if not line:
                return
            number += 1
            size = len(line)
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    command = f"iconv -f UTF-16 -t UTF-8 {path.name} > new.txt"
                    raise CorruptFile(path, f"is UTF-16; convert it: {command}")
                bare = line.removeprefix(b"\xef\xbb\xbf")
                offset, size, line = offset + size - len(bare), len(bare), bare
            if size < MAX_ROW or line.endswith(b"\n"):
                yield number, offset, line.removesuffix(b"\n").removesuffix(b"\r")
            else:
                size += _skip_line(path, file)
                yield number, offset, None
            offset += size


def _skip_line(path: Path, file: IO[bytes]) -> int:
    """Read to the end of a line; return its bytes."""
    size = 0
    while True:
        with reading(path):
            rest = file.readline(BLOCK)
        size += len(rest)
        if not rest or rest.endswith(b"\n"):
            return size


def sample_lines(path: Path, most: int) -> tuple[int, int, bool]:
    """Count line breaks in the first `most` bytes of the content.

    Returns (breaks, bytes of the file as it lies on the disk that they took, whether that was all of it).
    """
    breaks = read = 0
    with open_packed(path) as raw, _unpacked(path, raw) as file:
        for block in _blocks(path, file):
            breaks += block.count(b"\n")
            read += len(block)
            if read >= most:
                return breaks, raw.tell(), False
        return breaks, raw.tell(), True

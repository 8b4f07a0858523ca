"""A disk that can be filled, for tests: a real small file system where one may be mounted."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE = 8 << 20


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs of 8 MB; where none may be mounted, any folder, and files that may not grow instead."""

    path: Path
    mounted: bool

    def fill(self, free: int = 0, largest: int = 0) -> None:
        """Leave so many bytes free; or let no file grow beyond `largest`."""
        self.make_space()
        if self.mounted:
            held = os.statvfs(self.path)
            with (self.path / "ballast").open("wb") as file:
                file.write(b"x" * max(0, held.f_bavail * held.f_frsize - free))
        else:
            _limit(largest)

    def make_space(self) -> None:
        """Let everything be written again."""
        if self.mounted:
            (self.path / "ballast").unlink(missing_ok=True)
        else:
            _limit(resource.RLIM_INFINITY)


def _limit(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard)
    )


@contextmanager
def small_disk_at(path: Path) -> Iterator[SmallDisk]:
    """Make a small disk at `path`, and take it away again."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    may = os.getuid() == 0 and shutil.which("mount") is not None
    mounted = may and subprocess.run(mount, capture_output=True).returncode == 0
    disk = SmallDisk(path, mounted)
    try:
        yield disk
    finally:
        disk.make_space()
        if mounted:
            subprocess.run(["umount", str(path)], check=True)

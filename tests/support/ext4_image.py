"""A real ext4 with a journal in a file, whose power can be cut. Needs root and a loop device."""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for

_SHUTDOWN = 0x8004587D
_NO_FLUSH = 2


class Ext4Image:
    """The file system, mounted while used."""

    def __init__(self, folder: Path, megabytes: int = 256) -> None:
        self._image, self.path = folder / "image", folder / "mounted"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        self.mounted = False

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True, capture_output=True)
        self.mounted = True

    def unmount(self) -> None:
        if self.mounted:
            # what was killed may have it open for another moment
            wait_for(lambda: subprocess.run(["umount", str(self.path)], check=False).returncode == 0)
            self.mounted = False

    def end(self) -> None:
        """After the test: a failed one may have left files open."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
            self.mounted = False

    def cut_power(self) -> None:
        """What is not on the disk by now never gets there; everything fails with EIO until it is mounted again."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(fd)

    def make_read_only(self) -> None:
        """What the kernel does after an error of the disk: nothing can be changed until it is mounted again."""
        subprocess.run(["sync", "--file-system", str(self.path)], check=True)
        subprocess.run(["mount", "-o", "remount,abort", str(self.path)], check=True)

    def power_on(self) -> None:
        self.unmount()
        self.mount()


def ext4_image_or_skip(folder: Path) -> Ext4Image:
    """A mounted image, or the test is skipped and says why."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("power loss on a real ext4 needs root and mkfs.ext4")
    image = Ext4Image(folder)
    try:
        image.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device can be mounted here: {error.stderr!r}")
    return image


def put_on(image: Ext4Image, instance: RunningInstance) -> None:
    """The instance's data folder is moved to this disk."""
    data = instance.folder / "data"
    shutil.copytree(data, image.path, dirs_exist_ok=True)
    shutil.rmtree(data)
    data.symlink_to(image.path, target_is_directory=True)

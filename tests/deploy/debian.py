"""A Debian of its own in a folder, made once by debootstrap and copied for each test."""

import os
import shutil
import subprocess
import tempfile
import unittest

from cloud import ROOT

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
BASE = os.path.join(TARGET, "debian")
RELEASE = "bookworm"


def mirror():
    """Where this machine has its own packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        text=True, capture_output=True, check=True,
    )
    return listed.stdout.split()[0]


def make_base():
    """Makes the folder unless it is there. Skips where that cannot be, and says why."""
    if os.path.exists(os.path.join(BASE, "made")):
        return
    if os.geteuid() != 0:
        raise unittest.SkipTest("SKIPPED: a Debian in a folder needs root")
    if not shutil.which("debootstrap"):
        raise unittest.SkipTest("SKIPPED: a Debian in a folder needs debootstrap")
    shutil.rmtree(BASE, ignore_errors=True)
    os.makedirs(BASE)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=curl", RELEASE, BASE, mirror()],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if made.returncode != 0:
        tail = made.stdout[-2000:]
        raise unittest.SkipTest(f"SKIPPED: debootstrap cannot make a Debian here: {tail}")
    shutil.rmtree(os.path.join(BASE, "var/cache/apt/archives"), ignore_errors=True)
    with open(os.path.join(BASE, "made"), "w", encoding="utf-8"):
        pass


class Debian:
    """A copy of the folder. Commands run in it as root, unless told otherwise."""

    def __init__(self):
        make_base()
        self.root = tempfile.mkdtemp(prefix="elbow-debian-")
        subprocess.run(["cp", "-a", f"{BASE}/.", self.root], check=True)
        # Limits are derived from what /proc says of the machine.
        subprocess.run(["mount", "-t", "proc", "proc", self.path("proc")], check=True)

    def path(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def run(self, command, check=True, **options):
        ran = subprocess.run(
            ["chroot", self.root, *command], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, **options,
        )
        assert not check or ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}"
        return ran

    def remove(self):
        subprocess.run(["umount", self.path("proc")], check=True)
        shutil.rmtree(self.root, ignore_errors=True)

"""A Debian of its own in a folder, made once by debootstrap and copied for each test: as folder in
which commands run, or as machine whose first process is systemd."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
import unittest

from cloud import ROOT

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
BASE = os.path.join(TARGET, "debian")
RELEASE = "bookworm"
# Beside the least that is a Debian: what every machine starts with, and what fetches a release.
PACKAGES = "curl,systemd,systemd-sysv,dbus"
BOOT = os.path.join(ROOT, "tests/deploy/boot")
GROUPS = "/sys/fs/cgroup"


def mirror():
    """Where this machine has its own packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        text=True, capture_output=True, check=True,
    )
    return listed.stdout.split()[0]


def make_base():
    """Makes the folder unless it is there. Skips where that cannot be, and says why. Several
    processes may ask for it: one makes it, the others wait."""
    os.makedirs(TARGET, exist_ok=True)
    with open(f"{BASE}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_base_alone()


def make_base_alone():
    """Makes the folder; nobody else does so meanwhile."""
    made_of = os.path.join(BASE, "made")
    if os.path.exists(made_of):
        with open(made_of, encoding="utf-8") as file:
            if file.read() == PACKAGES:
                return
    if os.geteuid() != 0:
        raise unittest.SkipTest("SKIPPED: a Debian in a folder needs root")
    if not shutil.which("debootstrap"):
        raise unittest.SkipTest("SKIPPED: a Debian in a folder needs debootstrap")
    shutil.rmtree(BASE, ignore_errors=True)
    os.makedirs(BASE)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, BASE, mirror()],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if made.returncode != 0:
        tail = made.stdout[-2000:]
        raise unittest.SkipTest(f"SKIPPED: debootstrap cannot make a Debian here: {tail}")
    shutil.rmtree(os.path.join(BASE, "var/cache/apt/archives"), ignore_errors=True)
    with open(made_of, "w", encoding="utf-8") as file:
        file.write(PACKAGES)


class Copy:
    """A copy of the folder, in which commands run as root."""

    def __init__(self):
        make_base()
        self.root = tempfile.mkdtemp(prefix="elbow-debian-")
        os.chmod(self.root, 0o755)
        subprocess.run(["cp", "-a", f"{BASE}/.", self.root], check=True)

    def path(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def enter(self):
        """The words in front of a command that let it run in there."""
        raise NotImplementedError

    def run(self, command, check=True, timeout=120):
        ran = subprocess.run(
            [*self.enter(), *command], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_PAGER": ""},
        )
        assert not check or ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}"
        return ran


class Debian(Copy):
    """A folder, and nothing that runs in it."""

    def __init__(self):
        super().__init__()
        # Limits are derived from what /proc says of the machine.
        subprocess.run(["mount", "-t", "proc", "proc", self.path("proc")], check=True)

    def enter(self):
        return ["chroot", self.root]

    def remove(self):
        subprocess.run(["umount", self.path("proc")], check=True)
        shutil.rmtree(self.root, ignore_errors=True)


class Machine(Copy):
    """A machine that has started: systemd and what belongs to it. It has a loopback interface."""

    def __init__(self):
        super().__init__()
        self.group = os.path.basename(self.root)
        self.log = tempfile.TemporaryFile(mode="w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [BOOT, self.root, self.group], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.first = None
        try:
            self.wait()
        except BaseException:
            self.remove()
            raise

    def wait(self):
        """Until all has started. Skips where there can be no such machine, and says why."""
        state = ""
        for _ in range(1800):
            if self.process.poll() is not None:
                raise unittest.SkipTest(f"SKIPPED: no machine can be started here: {self.said()}")
            if self.first is None:
                self.first = self.child()
            else:
                state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.1)
        raise unittest.SkipTest(f"SKIPPED: systemd does not start here ({state}): {self.said()}")

    def child(self):
        """The process that is the machine's first, once it is systemd."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/comm", encoding="utf-8") as file:
                if file.read().strip() == "systemd":
                    return child
        return None

    def said(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def enter(self):
        return ["nsenter", "--target", self.first, "--all"]

    def in_network(self, command):
        """A command of ours that sees the machine's network, and of everything else our own."""
        return ["nsenter", "--target", self.first, "--net", *command]

    def sh(self, script, check=True):
        """What a script of the shell prints, run in there."""
        return self.run(["sh", "-euc", script], check=check).stdout

    def remove(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        for place, folders, _ in os.walk(GROUPS, topdown=False):
            if f"/{self.group}/" in f"{place}/":
                remove_group(place)
        shutil.rmtree(self.root, ignore_errors=True)


def remove_group(path):
    """Removes a control group, once what is in it has ended."""
    for _ in range(100):
        try:
            return os.rmdir(path)
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{path} cannot be removed")

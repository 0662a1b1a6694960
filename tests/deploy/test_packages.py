"""Packages and archives: what deploy/release makes of binaries that are there.

Goal: a release is the same bytes whoever makes it; its package can be installed, started as its unit
says, upgraded and removed, and does with settings what Debian's packages do; user data installs it.

Method: deploy/release packs the binary under test, twice, in circumstances that differ. The rest
happens in a Debian of its own in a folder (debian.py), where no systemd runs: what it would do, the
test does by hand from the unit. Where there is no root or no debootstrap that is skipped. With
systemd the same is done by test_systemd.py."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from cloud import ROOT
from debian import TARGET, Debian
from served import Served, free_port
from test_aws import SCRIPT

ELBOW = os.environ.get("ELBOW_BIN", os.path.join(TARGET, "release/elbow"))
SETTINGS = "etc/default/elbow"
WANTED = "etc/systemd/system/multi-user.target.wants/elbow.service"


def pack(binaries, out, version="0.1.0", **environment):
    ran = subprocess.run(
        ["deploy/release", "--binaries", binaries, out], cwd=ROOT, text=True,
        env={**os.environ, "VERSION": version, "SOURCE_DATE_EPOCH": "1700000000", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def binaries(folder):
    """A folder as `--binaries` wants it, with the binary under test for all; the folder's path."""
    made = os.path.join(folder, "binaries")
    for machine in ("x86_64", "aarch64"):
        os.makedirs(os.path.join(made, machine))
        # Nothing of Arm is run here: any bytes do.
        arm = os.path.join(TARGET, "aarch64-unknown-linux-musl/release/elbow")
        binary = arm if machine == "aarch64" and os.path.exists(arm) else ELBOW
        for name in ("elbow", "elbow-tls"):
            shutil.copy(binary, os.path.join(made, machine, name))
    return made


def contents(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def user_data(debian, url, settings, digest=None):
    """Runs user data in there, as the first start of an instance does; /release has the release."""
    digest = digest or contents(debian.path("release"))["SHA256SUMS"]
    with open(SCRIPT, encoding="utf-8") as file:
        script = file.read()
    head = (f"#!/bin/sh\nRELEASE_URL='{url}'\nRELEASE_SHA256='{digest}'\n"
            f"SETTINGS=$(cat <<'END-OF-SETTINGS'\n{settings}\n\nEND-OF-SETTINGS\n)\n")
    with open(debian.path("user-data"), "w", encoding="utf-8") as file:
        file.write(head + script)
    return debian.run(["sh", "/user-data"], check=False)


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="elbow-packages-")
        cls.binaries = binaries(cls.folder)
        cls.out = os.path.join(cls.folder, "out")
        pack(cls.binaries, cls.out)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def debian(self):
        debian = Debian()
        self.addCleanup(debian.remove)
        shutil.copytree(self.out, debian.path("release"))
        return debian

    def test_a_release_is_the_same_bytes_whoever_makes_it(self):
        other = os.path.join(self.folder, "an other place")
        pack(self.binaries, other, TZ="Asia/Kathmandu", LC_ALL="C.UTF-8", HOME="/nonexistent")
        self.assertEqual(contents(other), contents(self.out))
        later = os.path.join(self.folder, "later")
        pack(self.binaries, later, SOURCE_DATE_EPOCH="1700000001")
        self.assertNotEqual(contents(later), contents(self.out))

    def test_the_list_of_digests_vouches_for_every_file(self):
        with open(os.path.join(self.out, "SHA256SUMS"), encoding="utf-8") as file:
            listed = dict(reversed(line.split()) for line in file)
        found = contents(self.out)
        found.pop("SHA256SUMS")
        self.assertEqual(listed, found)
        for name in ("elbow_0.1.0_amd64.deb", "elbow_0.1.0_arm64.deb",
                     "elbow-0.1.0-x86_64-linux.tar.gz", "elbow-0.1.0-aarch64-linux.tar.gz"):
            self.assertIn(name, found)

    def test_what_is_missing_is_named(self):
        empty = os.path.join(self.folder, "empty")
        os.makedirs(empty, exist_ok=True)
        ran = subprocess.run(
            ["deploy/release", "--binaries", empty, os.path.join(self.folder, "none")],
            cwd=ROOT, text=True, capture_output=True,
        )
        self.assertNotEqual(ran.returncode, 0)
        self.assertRegex(ran.stderr, r"deploy/release: .*/empty/x86_64/elbow is missing\n$")

    def test_files_belong_to_root_and_nobody_else_may_write_them(self):
        for name in os.listdir(self.out):
            path = os.path.join(self.out, name)
            if name.endswith(".deb"):
                listed = subprocess.run(["dpkg-deb", "--contents", path], text=True,
                                        capture_output=True, check=True).stdout
            elif name.endswith(".tar.gz"):
                listed = subprocess.run(["tar", "-tvzf", path], text=True,
                                        capture_output=True, check=True).stdout
            else:
                continue
            self.assertIn("usr/bin/elbow", listed)
            for line in listed.splitlines():
                self.assertRegex(line, r"^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x) (root/root|0/0) ")

    def start(self, debian):
        """Starts what the unit says, with the settings that it names, as somebody without rights."""
        unit = debian.text("usr/lib/systemd/system/elbow.service")
        command = re.search(r"(?m)^ExecStart=(\S+)$", unit)[1]
        settings = re.search(r"(?m)^EnvironmentFile=-(\S+)$", unit)[1]
        given = dict(re.findall(r"(?m)^Environment=(\w+)=(\S+)$", unit))
        given |= dict(re.findall(r"(?m)^(ELBOW_\w+)=(.*)$", debian.text(settings)))
        port = free_port()
        # Behind a balancer clients show a header; the port for health asks for none.
        given |= {"ELBOW_LISTEN": "127.0.0.1:0", "ELBOW_HEALTH_LISTEN": f"127.0.0.1:{port}"}
        return Served(debian.root, [command], given, port)

    def test_a_package_is_installed_started_upgraded_and_removed(self):
        debian = self.debian()
        debian.run(["dpkg", "--install", "/release/elbow_0.1.0_amd64.deb"])
        self.assertTrue(os.path.islink(debian.path(WANTED)), "it starts with the machine")
        self.assertIn("elbow", debian.run(["/usr/bin/elbow", "--version"]).stdout)
        self.assertEqual(debian.run(["dpkg", "--verify", "elbow"]).stdout, "")
        server = self.start(debian)
        exit_code, logged = server.end()
        self.assertEqual(exit_code, 0, logged)

        with open(debian.path(SETTINGS), "a", encoding="utf-8") as file:
            file.write("ELBOW_HISTORY=1000\n")
        later = os.path.join(self.folder, "upgrade")
        pack(self.binaries, later, version="0.1.1")
        shutil.copytree(later, debian.path("later"))
        debian.run(["dpkg", "--install", "/later/elbow_0.1.1_amd64.deb"])
        shown = debian.run(["dpkg-query", "--show", "--showformat=${Version}", "elbow"]).stdout
        self.assertEqual(shown, "0.1.1")
        self.assertIn("\nELBOW_HISTORY=1000\n", debian.text(SETTINGS), "settings are kept")
        self.start(debian).end()

        debian.run(["dpkg", "--remove", "elbow"])
        self.assertFalse(os.path.exists(debian.path("usr/bin/elbow")))
        self.assertIn("\nELBOW_HISTORY=1000\n", debian.text(SETTINGS), "until it comes again")
        debian.run(["dpkg", "--purge", "elbow"])
        left = debian.run(["find", "/etc", "/usr", "/var/lib/systemd", "-name", "*elbow*"]).stdout
        self.assertEqual(left, "")

    def test_who_has_disabled_it_finds_it_disabled_after_an_upgrade(self):
        debian = self.debian()
        debian.run(["dpkg", "--install", "/release/elbow_0.1.0_amd64.deb"])
        # What `systemctl disable` does, which comes with systemd.
        os.remove(debian.path(WANTED))
        later = os.path.join(self.folder, "disabled")
        pack(self.binaries, later, version="0.1.1")
        shutil.copytree(later, debian.path("later"))
        debian.run(["dpkg", "--install", "/later/elbow_0.1.1_amd64.deb"])
        self.assertFalse(os.path.lexists(debian.path(WANTED)))

    def user_data(self, debian, digest=None, settings="ELBOW_LB=nlb\nELBOW_DRAIN=1s"):
        return user_data(debian, "file:///release", settings, digest)

    def test_user_data_installs_a_release_on_debian(self):
        debian = self.debian()
        ran = self.user_data(debian)
        self.assertEqual(ran.returncode, 0, ran.stdout)
        self.assertIn("elbow_0.1.0_amd64.deb is installed", ran.stdout)
        self.assertTrue(os.path.islink(debian.path(WANTED)))
        self.assertIn("\nELBOW_LB=nlb\nELBOW_DRAIN=1s\n", debian.text(SETTINGS))
        exit_code, logged = self.start(debian).end()
        self.assertEqual(exit_code, 0, logged)
        # A second time it changes nothing.
        before = debian.text(SETTINGS)
        self.assertEqual(self.user_data(debian).returncode, 0)
        self.assertEqual(debian.text(SETTINGS), before)

    def test_user_data_installs_an_archive_where_there_is_no_dpkg(self):
        debian = self.debian()
        os.remove(debian.path("usr/bin/dpkg"))
        before = os.stat(debian.path("usr"))
        ran = self.user_data(debian)
        self.assertEqual(ran.returncode, 0, ran.stdout)
        self.assertIn("elbow-0.1.0-x86_64-linux.tar.gz is installed", ran.stdout)
        self.assertEqual(os.stat(debian.path("usr")).st_mode, before.st_mode)
        self.assertIn("\nELBOW_LB=nlb\n", debian.text(SETTINGS))
        exit_code, logged = self.start(debian).end()
        self.assertEqual(exit_code, 0, logged)

    def test_user_data_installs_nothing_that_it_cannot_vouch_for(self):
        debian = self.debian()
        ran = self.user_data(debian, digest="0" * 64)
        self.assertNotEqual(ran.returncode, 0, ran.stdout)
        with open(debian.path("release/elbow_0.1.0_amd64.deb"), "ab") as file:
            file.write(b"more")
        self.assertNotEqual(self.user_data(debian).returncode, 0)
        os.remove(debian.path("release/elbow_0.1.0_amd64.deb"))
        self.assertNotEqual(self.user_data(debian).returncode, 0)
        self.assertFalse(os.path.exists(debian.path("usr/bin/elbow")))
        self.assertFalse(os.path.exists(debian.path(SETTINGS)))


if __name__ == "__main__":
    unittest.main()

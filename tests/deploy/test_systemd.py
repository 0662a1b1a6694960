"""The service, its sockets, the packages and user data, on a machine whose first process is systemd.

Goal: what deploy/ has for systemd does there what its comments and docs/OPERATIONS.md say: the service
starts, is reloaded, is ended and comes back, has no rights and yet all that it needs; sockets wait for
it; packages and user data leave a service that runs.

Method: a Debian in a folder is started as a container would be (debian.py), with its own systemd, which
is asked and told by its own programs. Commands that comments and pages name are taken from there. Where
no such machine can be started that is skipped."""

import fcntl
import os
import re
import shutil
import tempfile
import textwrap
import threading
import time
import unittest

from cloud import ROOT
from debian import Machine
from test_packages import binaries, contents, pack, user_data

SERVICE = "deploy/systemd/elbow.service"
SOCKET = "deploy/systemd/elbow.socket"
SETTINGS = "etc/default/elbow"
DROP_INS = "etc/systemd/system"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class Release(unittest.TestCase):
    """What all have: a release, of the binary under test, and one of a later version."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="elbow-systemd-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        made = binaries(cls.folder)
        cls.release, cls.later = (os.path.join(cls.folder, name) for name in ("release", "later"))
        pack(made, cls.release)
        pack(made, cls.later, version="0.1.1")
        cls.digest = contents(cls.release)["SHA256SUMS"]

    @classmethod
    def machine(cls):
        machine = Machine()
        for folder in (cls.release, cls.later):
            shutil.copytree(folder, machine.path(os.path.basename(folder)))
        return machine


def shown(machine, *properties):
    """What systemd says of the service."""
    text = machine.sh(f"systemctl show elbow -p {','.join(properties)}")
    return dict(line.split("=", 1) for line in text.splitlines())


class Service(Release):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.it = cls.machine()
        cls.addClassCleanup(cls.it.remove)
        cls.it.sh("dpkg --install /release/elbow_0.1.0_amd64.deb")

    def setUp(self):
        self.addCleanup(self.reset)

    def reset(self):
        """Everything as the package has it."""
        self.it.sh("systemctl disable --now elbow.socket elbow-health.socket elbow-admin.socket")
        for name in ("elbow.service", "elbow.socket"):
            shutil.rmtree(self.it.path(f"{DROP_INS}/{name}.d"), ignore_errors=True)
        with open(self.it.path(SETTINGS), "w", encoding="utf-8") as file:
            file.write("")
        self.it.sh("systemctl daemon-reload; systemctl reset-failed; systemctl restart elbow")

    def set(self, settings="", drop_in="", unit="elbow.service"):
        """Settings, and what `systemctl edit` would have added to a unit."""
        with open(self.it.path(SETTINGS), "w", encoding="utf-8") as file:
            file.write(settings)
        folder = self.it.path(f"{DROP_INS}/{unit}.d")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "override.conf"), "w", encoding="utf-8") as file:
            file.write(drop_in)
        self.it.sh("systemctl daemon-reload")

    def journal(self):
        """What the service has said since it was started last."""
        return self.it.sh(
            "journalctl --unit elbow --output cat --no-pager "
            "_SYSTEMD_INVOCATION_ID=$(systemctl show elbow -p InvocationID --value)")

    def until(self, said):
        for _ in range(300):
            if said():
                return
            time.sleep(0.1)
        self.fail(self.journal())

    def pid(self):
        return int(shown(self.it, "MainPID")["MainPID"])

    def test_it_runs_without_any_right_and_with_the_machine(self):
        state = shown(self.it, "ActiveState", "UnitFileState", "StatusText", "MainPID", "Wants")
        self.assertEqual((state["ActiveState"], state["UnitFileState"]), ("active", "enabled"))
        self.assertEqual(state["StatusText"], "0 connections, 0 messages/s")
        self.assertIn("network-online.target", state["Wants"])
        status = self.it.sh(f"cat /proc/{state['MainPID']}/status")
        self.assertNotRegex(status, r"\nUid:.*\b0\b")
        self.assertRegex(status, r"\nCapEff:\t0+\nCapBnd:\t0+\n")
        self.assertRegex(status, r"\nNoNewPrivs:\t1\nSeccomp:\t2\n")
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3000/healthz"), "ok")
        self.assertEqual(self.it.sh("journalctl -u elbow -p warning -o cat --no-pager -q"), "")

    def test_its_limits_fit_into_what_systemd_allows(self):
        self.set(drop_in="[Service]\nMemoryMax=416M\n")
        self.it.sh("systemctl restart elbow")
        total = int(re.search(r"ceiling, total: .*\((\d+) bytes\)", self.journal())[1])
        self.assertLess(total, (416 << 20) * 15 // 16)
        self.assertGreater(total, (416 << 20) * 14 // 16)

    def test_without_a_limit_they_fit_into_the_machine(self):
        # The unit hides /proc/meminfo, which tells others.
        run = "systemd-run --quiet --pipe --wait --property ProcSubset={} elbow check --fit"
        seen, hidden = (
            re.search("(?m)^fit: .*", self.it.sh(run.format(subset)))[0]
            for subset in ("all", "pid"))
        self.assertRegex(seen, r", the machine's memory; ")
        self.assertEqual(hidden, seen)

    def test_a_shell_learns_what_holds_for_the_service(self):
        page = read("docs/OPERATIONS.md").split("\n## systemd\n")[1]
        command, = re.findall(r"(?m)^ *(systemd-run .*)$", page)
        self.set("ELBOW_MAX_CONNECTIONS=1000\nELBOW_LB=nlb\n")
        self.it.sh("systemctl restart elbow")
        checked = self.it.sh(command)
        self.assertRegex(checked, r"(?m)^--lb +nlb \(env\)$")
        total = r"memory ceiling, total: .*\((\d+) bytes\)"
        self.assertEqual(re.search(total, checked)[1], re.search(total, self.journal())[1])

    def test_a_reload_reads_again_what_files_have(self):
        www = "/srv/www"
        os.makedirs(self.it.path(www))
        page = self.it.path(f"{www}/index.html")
        with open(page, "w", encoding="utf-8") as file:
            file.write("before")
        self.set(f"ELBOW_WWW={www}\n")
        self.it.sh("systemctl restart elbow")
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3000/"), "before")
        with open(page, "w", encoding="utf-8") as file:
            file.write("after")
        pid = self.pid()
        self.it.sh("systemctl reload elbow")
        self.until(lambda: self.it.sh("curl -sS http://127.0.0.1:3000/") == "after")
        self.assertEqual(self.pid(), pid)

    def test_secrets_come_as_credentials(self):
        self.it.sh("mkdir -p /etc/elbow; umask 077; echo 0123456789abcdef >/etc/elbow/token; "
                   "head -c 32 /dev/urandom | base64 >/etc/elbow/secret")
        page = read("docs/OPERATIONS.md").split("\n## systemd\n")[1]
        drop_in, = re.findall(r"```ini\n( *\[Service\]\n *LoadCredential=.*?)```", page, re.S)
        self.set("ELBOW_ADMIN_LISTEN=:3002\n", textwrap.dedent(drop_in))
        self.it.sh("systemctl restart elbow")
        self.until(lambda: "--token-key: 1 key" in self.journal())
        ask = "curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:3002/status"
        self.assertEqual(self.it.sh(ask), "401")
        self.assertEqual(self.it.sh(f"{ask} -H 'Authorization: Bearer 0123456789abcdef'"), "200")

    def test_it_comes_back_unless_its_settings_are_wrong(self):
        self.set(drop_in="[Service]\nWatchdogSec=2\n")
        self.it.sh("systemctl restart elbow")
        before = self.pid()
        # One that hangs is found by the watchdog.
        self.it.sh(f"kill -STOP {before}")
        self.until(lambda: self.pid() not in (0, before))
        hung = self.pid()
        self.it.sh(f"kill -KILL {hung}")
        self.until(lambda: self.pid() not in (0, hung))
        self.until(lambda: shown(self.it, "ActiveState")["ActiveState"] == "active")
        self.set("ELBOW_LB=alb\nELBOW_PROXY_PROTOCOL=required\n")
        self.assertNotEqual(self.it.run(["systemctl", "restart", "elbow"], check=False).returncode, 0)
        time.sleep(1.5)
        state = shown(self.it, "ActiveState", "ExecMainStatus", "NRestarts")
        self.assertEqual((state["ActiveState"], state["ExecMainStatus"]), ("failed", "78"))

    def test_it_has_the_time_that_its_drain_takes(self):
        self.set("ELBOW_DRAIN=4s\n", "[Service]\nTimeoutStopSec=1\n")
        self.it.sh("systemctl restart elbow")
        streams = "for n in 1 2 3; do curl -sN http://127.0.0.1:3000/sse >/dev/null & done"
        self.it.sh(f"{streams}; sleep 1; systemctl stop elbow; wait")
        self.assertEqual(shown(self.it, "Result")["Result"], "success")
        self.assertIn(" 3 sessions, ", self.it.sh("journalctl -u elbow -n 5 -o cat --no-pager"))

    def test_sockets_are_started_and_stopped_as_they_say(self):
        comment = re.sub(r"\n# ", " ", read(SOCKET).split("\n[Unit]")[0])
        commands = re.findall(r"systemctl(?: --now| [a-z.]+)+(?=[,.])", comment)
        self.assertEqual(len(commands), 4, commands)
        enable = commands[1].split()
        self.assertNotEqual(self.it.run(enable, check=False).returncode, 0, "elbow runs")
        stop, _, start, end = commands
        self.it.sh(f"{stop}; {' '.join(enable)} elbow-health.socket elbow-admin.socket; {start}")
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3000/healthz"), "ok")
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3001/healthz"), "ok")
        doctor = self.it.sh("elbow doctor --url unix:/run/elbow-admin.sock")
        self.assertIn("no findings", doctor)
        # While it is away, whoever connects waits.
        self.it.sh("systemctl restart --no-block elbow; curl -sS http://127.0.0.1:3000/healthz")
        self.until(lambda: shown(self.it, "ActiveState")["ActiveState"] == "active")
        self.it.sh(end)
        self.assertNotEqual(self.it.run(["curl", "-s", "http://127.0.0.1:3000/"], check=False)
                            .returncode, 0)
        self.assertEqual(shown(self.it, "ActiveState")["ActiveState"], "inactive")

    def test_a_proxy_beside_it_reaches_its_socket(self):
        page = read("docs/OPERATIONS.md").split("\n## A proxy beside it\n")[1].split("\n## ")[0]
        drop_in, = re.findall(r"```ini\n(\[Socket\]\n.*?)```", page, re.S)
        path = re.search(r"ListenStream=(/\S+)", drop_in)[1]
        self.set(drop_in=drop_in, unit="elbow.socket")
        self.it.sh("systemctl stop elbow; systemctl enable --now elbow.socket; systemctl start elbow")
        ask = f"curl -sS --unix-socket {path} http://localhost/healthz"
        self.assertEqual(self.it.sh(f"runuser -u www-data -- {ask}"), "ok")
        refused = self.it.run(["sh", "-c", f"runuser -u nobody -- {ask}"], check=False)
        self.assertNotEqual(refused.returncode, 0, refused.stdout)


class Machines(Release):
    def setUp(self):
        self.it = self.machine()
        self.addCleanup(self.it.remove)

    def is_enabled_and_serves(self):
        state = shown(self.it, "ActiveState", "UnitFileState")
        self.assertEqual((state["ActiveState"], state["UnitFileState"]), ("active", "enabled"))
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3000/healthz"), "ok")

    def test_a_package_takes_the_place_of_the_other(self):
        self.it.sh("dpkg --install /release/elbow_0.1.0_amd64.deb")
        with open(self.it.path(SETTINGS), "a", encoding="utf-8") as file:
            file.write("ELBOW_HISTORY=1000\n")
        self.it.sh("dpkg --install /release/elbow-tls_0.1.0_amd64.deb")
        self.is_enabled_and_serves()
        # What is left of the first are its settings, which are the other's now.
        self.it.sh("dpkg --purge elbow")
        self.is_enabled_and_serves()
        self.assertIn("ELBOW_HISTORY=1000\n", self.it.text(SETTINGS))
        first = shown(self.it, "MainPID")
        self.it.sh("dpkg --install /later/elbow-tls_0.1.1_amd64.deb")
        self.is_enabled_and_serves()
        self.assertNotEqual(shown(self.it, "MainPID"), first)
        self.it.sh("dpkg --install /later/elbow_0.1.1_amd64.deb; dpkg --purge elbow-tls")
        self.is_enabled_and_serves()
        self.it.sh("dpkg --remove elbow")
        self.assertEqual(shown(self.it, "ActiveState")["ActiveState"], "inactive")
        self.it.sh("dpkg --purge elbow")
        left = self.it.sh("find /etc /usr /var/lib/systemd /run/systemd -name '*elbow*'")
        self.assertEqual(left, "")

    def test_an_archive_is_installed_and_upgraded_as_the_page_says(self):
        page = read("docs/OPERATIONS.md").split("\n## Packages\n")[1].split("\n## ")[0]
        block, = re.findall(r"(?ms)^```sh\n(deploy/release.*?)^```", page)
        tar, = re.findall(r"(?m)^tar .*", block)
        start, = re.findall(r"(?m)^systemctl .*", block)
        tar, start = (re.sub(r" +#.*", "", line) for line in (tar, start))
        commands = f"{tar.replace('aarch64', 'x86_64')}; {start}"
        self.it.sh("mkdir -p /target; ln -s /release /target/dist")
        self.it.sh(f"cd /; {commands}")
        self.is_enabled_and_serves()
        with open(self.it.path(SETTINGS), "a", encoding="utf-8") as file:
            file.write("ELBOW_HEALTH_LISTEN=:3001\n")
        self.it.sh("rm /target/dist; ln -s /later /target/dist")
        restart = start.replace("enable --now", "restart")
        self.it.sh(f"cd /; {tar.replace('aarch64', 'x86_64')}; {restart}")
        self.is_enabled_and_serves()
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3001/healthz"), "ok")

    def test_several_processes_share_a_port_as_the_page_says(self):
        page = read("docs/OPERATIONS.md").split("\n### All cores of a machine\n")[1]
        page = page.split("\n## ")[0]
        socket, each = re.findall(r"(?s)```ini\n(.*?)```", page)
        commands, = re.findall(r"(?s)```sh\n(cp .*?)```", page)
        self.it.sh("dpkg --install /release/elbow_0.1.0_amd64.deb")
        os.makedirs(self.it.path(f"{DROP_INS}/elbow@.service.d"))
        for name, text in (("elbow@.socket", socket), ("elbow@.service.d/each.conf", each)):
            with open(self.it.path(f"{DROP_INS}/{name}"), "w", encoding="utf-8") as file:
                file.write(text)
        self.it.sh(commands)
        for port in (3101, 3102, 3000):
            self.assertEqual(self.it.sh(f"curl -sS http://127.0.0.1:{port}/healthz"), "ok")
        # What waits for one that is away is answered when it is back.
        self.it.sh("systemctl restart --no-block elbow@1; for n in $(seq 20); do "
                   "curl -sS --max-time 10 http://127.0.0.1:3000/healthz >/dev/null; done")
        self.it.sh("systemctl stop elbow@1.socket elbow@1; test -d /run/elbow-2")
        self.assertEqual(self.it.sh("curl -sS http://127.0.0.1:3102/healthz"), "ok")

    def test_user_data_leaves_a_service_that_runs(self):
        settings = "ELBOW_LB=nlb\nELBOW_HEALTH_LISTEN=0.0.0.0:3001"
        for is_debian in (True, False):
            if not is_debian:
                self.it.sh("dpkg --purge elbow; rm /usr/bin/dpkg")
            release, hidden = self.it.path("release"), self.it.path("not-yet")
            with open(self.it.path("var/lib/dpkg/lock-frontend"), "w", encoding="utf-8") as lock:
                # Another program installs something; and the release cannot be read yet.
                fcntl.lockf(lock, fcntl.LOCK_EX)
                os.rename(release, hidden)
                later = [threading.Timer(4, os.rename, (hidden, release)),
                         threading.Timer(8, fcntl.lockf, (lock, fcntl.LOCK_UN))]
                for timer in later:
                    timer.start()
                ran = user_data(self.it, "file:///release/", settings, self.digest)
                for timer in later:
                    timer.join()
            self.assertEqual(ran.returncode, 0, ran.stdout)
            self.assertRegex(ran.stdout, r"\nelbow: elbow\S+ is installed and serves\n$")
            state = shown(self.it, "ActiveState", "UnitFileState")
            self.assertEqual(
                (state["ActiveState"], state["UnitFileState"]), ("active", "enabled"))


if __name__ == "__main__":
    unittest.main()

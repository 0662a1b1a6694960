"""A server that was started in a folder of its own, without rights, on a port of loopback."""

import itertools
import os
import signal
import socket
import subprocess
import time
import urllib.request

NOBODY = 65534
# Below what the system gives to whoever asks for any port; each process begins elsewhere.
PORTS = (20_000 + (os.getpid() * 131 + count) % 10_000 for count in itertools.count())


def free_port():
    """A port that nobody listens on, and that the system gives to nobody else meanwhile."""
    for port in itertools.islice(PORTS, 10_000):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("none of ten thousand ports is free")


class Served:
    """Runs `command` below `root` as nobody; `port` is where it has to answer."""

    def __init__(self, root, command, environment, port):
        def enter():
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        self.port = port
        self.process = subprocess.Popen(
            command, env=environment, preexec_fn=enter, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        try:
            self.wait()
        except AssertionError:
            self.process.kill()
            raise

    def wait(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise AssertionError(f"it has ended: {self.process.stdout.read()}")
            try:
                return self.get("/healthz")
            except OSError:
                time.sleep(0.1)
        raise AssertionError("it does not answer")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def end(self):
        """Ends it as systemd and container engines do; its exit code and what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        logged, _ = self.process.communicate(timeout=30)
        return self.process.returncode, logged

"""How long it takes from a bare Debian to the first message, by each way of docs/OPERATIONS.md and the
README: what an operator types is done as it is written there, and the clock stops when what one
WebSocket has said is heard by another. Figures that no test asserts.

    tests/run first-message [WAY…]

A bare Debian is what debootstrap makes, with systemd and curl; its first start is not counted. The
release is there already, as a download would have brought it. `sources` downloads Rust and a linker,
and builds everything."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from cloud import ROOT
from debian import Debian, Machine
from served import Served, free_port
from test_containers import Image
from test_packages import user_data

SAY = os.path.join(ROOT, "tests/deploy/say.py")
RUSTUP = "https://static.rust-lang.org/rustup/dist/x86_64-unknown-linux-gnu/rustup-init"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def block_of(page, heading, begin):
    """The commands of the block of shell that begins like this, without what explains them."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        text = file.read().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block, = re.findall(rf"(?ms)^```sh\n({re.escape(begin)}.*?)^```", text)
    return re.sub(r"(?m) +#.*$", "", block).strip().splitlines()


def say(port, *balancer, enter=()):
    subprocess.run([*enter, sys.executable, SAY, str(port), *balancer], check=True, timeout=600)


def with_release(machine, release):
    os.makedirs(machine.path("target"))
    shutil.copytree(release, machine.path("target/dist"))
    os.symlink("target/dist", machine.path("release"))


def package(machine):
    install, = [line for line in block_of("docs/OPERATIONS.md", "Packages", "deploy/release")
                if line.startswith("dpkg ")]
    machine.sh(f"cd /; {install}")
    say(3000, enter=machine.in_network([]))


def archive(machine):
    lines = block_of("docs/OPERATIONS.md", "Packages", "deploy/release")
    commands = [line for line in lines if line.startswith(("tar ", "systemctl "))]
    machine.sh("cd /; " + "; ".join(commands).replace("aarch64", platform.machine()))
    say(3000, enter=machine.in_network([]))


def aws(machine):
    ran = user_data(machine, "file:///release",
                    "ELBOW_LB=nlb\nELBOW_PROXY_PROTOCOL=required\nELBOW_HEALTH_LISTEN=0.0.0.0:3001")
    assert ran.returncode == 0, ran.stdout
    say(3000, "nlb", enter=machine.in_network([]))


def aws_without_dpkg(machine):
    aws(machine)


def image(release):
    """The steps of the Containerfile, carried out in a folder, and run there without rights."""
    with tempfile.TemporaryDirectory(prefix="elbow-image-") as folder:
        os.chmod(folder, 0o755)
        context, root = os.path.join(folder, "context"), os.path.join(folder, "root")
        os.makedirs(context)
        os.makedirs(root)
        began = time.monotonic()
        files = [name for name in os.listdir(release)
                 if re.fullmatch(r"elbow-[0-9].*-x86_64-linux\.tar\.gz", name)]
        with open(os.path.join(context, "elbow-amd64"), "wb") as binary:
            subprocess.run(["tar", "-xzOf", os.path.join(release, *files), "usr/bin/elbow"],
                           stdout=binary, check=True)
        made = Image(context, root, "amd64")
        port = free_port()
        server = Served(root, made.entry, {"ELBOW_LISTEN": f"127.0.0.1:{port}"}, port)
        try:
            say(port)
            return time.monotonic() - began
        finally:
            server.end()


def sources(_):
    """README, "Run it", with rustup as the README's link has it."""
    debian = Debian()
    server = None
    try:
        os.makedirs(debian.path("elbow"))
        tree = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-xf", "-", "-C", debian.path("elbow")], input=tree.stdout, check=True)
        shutil.copy("/etc/resolv.conf", debian.path("etc/resolv.conf"))
        began = time.monotonic()
        debian.run(["sh", "-euc", "apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install "
                    "-q -y --no-install-recommends gcc libc6-dev ca-certificates"], timeout=900)
        # A machine whose way to the outside is watched has certificates of its own.
        shutil.copy(CERTIFICATES, debian.path(CERTIFICATES))
        debian.run(["sh", "-euc", f"curl -sSf -o /rustup-init {RUSTUP}; chmod +x /rustup-init; "
                    "export HOME=~root; /rustup-init -y -q --profile minimal --no-modify-path"], timeout=900)
        ready = time.monotonic()
        run, = [line for line in block_of("README.md", "Run it", "cargo run --release")
                if line.startswith("cargo ")]
        port = free_port()
        server = subprocess.Popen(
            [*debian.enter(), "sh", "-euc",
             f"export HOME=~root; PATH=$PATH:$HOME/.cargo/bin; cd /elbow; "
             f"ELBOW_LISTEN=127.0.0.1:{port} {run}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, start_new_session=True)
        subprocess.run([sys.executable, SAY, str(port)], check=True, timeout=3600)
        heard = time.monotonic()
        print(f"  of which {ready - began:.0f} s for a linker and Rust")
        return heard - began
    finally:
        if server:
            os.killpg(server.pid, 15)
            server.wait()
        debian.remove()


def on_machine(way, release):
    machine = Machine()
    try:
        with_release(machine, release)
        if way is aws_without_dpkg:
            os.remove(machine.path("usr/bin/dpkg"))
        began = time.monotonic()
        way(machine)
        return time.monotonic() - began
    finally:
        machine.remove()


WAYS = {
    "package": lambda release: on_machine(package, release),
    "archive": lambda release: on_machine(archive, release),
    "aws": lambda release: on_machine(aws, release),
    "aws-without-dpkg": lambda release: on_machine(aws_without_dpkg, release),
    "image": image,
    "sources": sources,
}


def main():
    release, *wanted = sys.argv[1:]
    for name in wanted or WAYS:
        try:
            print(f"{name}: {WAYS[name](os.path.abspath(release)):.1f} s", flush=True)
        except unittest.SkipTest as why:
            print(f"{name}: {why}", flush=True)


if __name__ == "__main__":
    main()

"""Commands in documents do what they say.

Goal: whoever copies a command out of a page has one that is taken; and a figure of a table that elbow
can compute is what it computes.

Method: every block of shell in the pages is read. Commands that run elbow are given to `elbow check`,
or run where they only print; commands of AWS are read by AWS' own program, which judges names, types
and values before it asks anybody. What they set has to be what deploy/aws sets. Commands of other
programs are only parsed by a shell."""

import contextlib
import io
import os
import re
import subprocess
import tempfile
import unittest
from unittest import mock

import awscli.clidriver

import facts
from cloud import ROOT
from test_aws import stack
from test_packages import ELBOW

PAGES = ("README.md", "docs/OPERATIONS.md", "docs/CLIENTS.md", "docs/CONFIGURATION.md",
         "deploy/aws/README.md")
# Commands that ask a server, which is not there.
ASKING = {"doctor", "top", "health"}


def page(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def blocks(text):
    """The insides of the blocks of shell, less what they are indented by."""
    found = []
    for indent, inside in re.findall(r"(?ms)^( *)```sh\n(.*?)^ *```$", text):
        found.append(re.sub(f"(?m)^{indent}", "", inside))
    return found


def words(command):
    """What a shell makes of one command. Variables have texts that no token is too short for."""
    variables = set(re.findall(r"\$\{?(\w+)", command))
    environment = {name: f"the-value-of-{name.lower()}" for name in variables} | {"PATH": os.environ["PATH"]}
    ran = subprocess.run(
        ["sh", "-c", f'p() {{ printf "%s\\0" "$@"; }}; p {command}'],
        env=environment, text=True, capture_output=True, timeout=30,
    )
    assert ran.returncode == 0, (command, ran.stderr)
    return ran.stdout.split("\0")[:-1]


def all_commands(program):
    """Every command of a program in the pages: the page, and the text up to its end."""
    for name in PAGES:
        for block in blocks(page(name)):
            joined = re.sub(r"\\\n", " ", block)
            # A quoted text may have line feeds in it.
            for text in re.findall(rf"(?m)^(?:[A-Z_]+=\S+ )*{program} (?:'[^']*'|[^'\n])*", joined):
                yield name, re.sub(r"\s+#.*| *[|&>].*|\s*&$", "", text, flags=0).strip()


class Documents(unittest.TestCase):
    def test_every_block_is_shell(self):
        count = 0
        for name in PAGES:
            for block in blocks(page(name)):
                ran = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True)
                self.assertEqual((ran.returncode, ran.stderr), (0, ""), f"{name}:\n{block}")
                count += 1
        self.assertGreater(count, 20)

    def test_elbow_takes_its_flags(self):
        count = 0
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "public"))
            for name, text in all_commands("elbow"):
                given = re.match(r"(?:[A-Z_]+=\S+ )*", text)[0]
                environment = dict(one.split("=", 1) for one in words(given) if one)
                _, *arguments = words(text[len(given):])
                command = arguments[0] if arguments and arguments[0][0] != "-" else None
                if command in ASKING and "--aws" not in arguments:
                    continue
                if command is None:
                    arguments = ["check", *arguments]
                ran = subprocess.run(
                    [ELBOW, *arguments], cwd=folder, text=True, capture_output=True, timeout=30,
                    env=environment,
                )
                # Files of keys are whoever's reads this.
                if "No such file" not in ran.stderr:
                    self.assertEqual((ran.returncode, ran.stderr), (0, ""), f"{name}: {text}")
                count += 1
        self.assertGreater(count, 15)

    def test_aws_takes_its_commands(self):
        count = 0
        for name, text in all_commands("aws"):
            with self.subTest(text):
                _, *arguments = words(text)
                self.assertTrue(is_taken(arguments), f"{name}: {text}")
                count += 1
        self.assertGreater(count, 10)
        wrong = "elbv2 modify-listener --listener-arn a --default-actions Type=forward,Weigth=1"
        self.assertFalse(is_taken(wrong.split()))
        self.assertFalse(is_taken("elb configure-health-check --load-balancer-name a".split()))

    def test_pages_set_what_deploy_aws_sets(self):
        made = facts.of_stack("nlb", stack("nlb"))
        wanted = made["groups"][0]["attributes"] | {"tcp.idle_timeout.seconds": made["idle timeout"]}
        said = re.findall(r"Key=([\w.]+),Value=(\w+)", page("docs/OPERATIONS.md"))
        self.assertEqual({key: wanted.get(key) for key, _ in said}, dict(said))
        self.assertEqual(set(wanted), {key for key, _ in said})
        classic = facts.of_stack("clb", stack("clb"))
        text = page("docs/OPERATIONS.md")
        self.assertIn("Target=HTTP:3001/healthz,Interval=10,Timeout=5,UnhealthyThreshold=2", text)
        self.assertEqual(classic["check"], ("HTTP 3001 /healthz", [10, 5, 2, 2]))
        self.assertIn(f'"IdleTimeout":{classic["idle timeout"]}', text)

    def test_capacity_is_what_elbow_computes(self):
        rows = re.findall(r"(?m)^\| t4g\.\w+[^|]*\| ([\d.]+) ([MG])iB of [^|]*\| `([^`]+)` \| (.*) \|$",
                          page("docs/OPERATIONS.md"))
        self.assertEqual(len(rows), 4)
        for free, unit, flags, shown in rows:
            ran = subprocess.run([ELBOW, "check", *flags.split()], text=True, capture_output=True,
                                 env={})
            self.assertEqual(ran.returncode, 0, ran.stderr)
            total = re.search(r"ceiling, total: (.*) \((\d+) bytes\)", ran.stdout)
            self.assertEqual(total[1], shown, flags)
            free_bytes = float(free) * (1 << (20 if unit == "M" else 30))
            self.assertLess(int(total[2]), free_bytes, flags)
            self.assertGreater(int(total[2]), free_bytes * 0.85, f"{flags} leaves much unused")

    def test_the_formula_of_capacity_is_elbow_s(self):
        for send, receive in ((64, 32), (16, 8)):
            ran = subprocess.run(
                [ELBOW, "check", "--send-buffer", f"{send}KiB", "--receive-buffer", f"{receive}KiB"],
                text=True, capture_output=True, env={},
            )
            share = int(re.search(r"per connection: .*\((\d+) bytes\)", ran.stdout)[1])
            self.assertEqual(share, (4 + 136 + 2 * send + 2 * receive) << 10)

    def test_every_finding_has_a_symptom_and_none_is_made_up(self):
        with open(os.path.join(ROOT, "src/metrics/findings.rs"), encoding="utf-8") as file:
            code = file.read().split("#[cfg(test)]")[0]
        made = set(re.findall(r'finding\(\s*"([a-z_]+)"', code))
        self.assertGreater(len(made), 8)
        section = page("docs/OPERATIONS.md").split("\n## By symptom\n")[1].split("\n## ")[0]
        said = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`(?=[^|(]*\) \|)", section))
        self.assertEqual(made - said - {"proxy_version"}, set())
        self.assertEqual(said - made, set())


def is_taken(arguments):
    """Whether `aws` takes these words: names, types and values are right, and a request is made, which
    goes no further."""
    environment = {
        "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }
    nowhere = mock.Mock(side_effect=ConnectionError("nobody is asked"))
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch("botocore.endpoint.Endpoint.make_request", nowhere),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
        contextlib.chdir(ROOT),
    ):
        awscli.clidriver.create_clidriver().main(arguments)
    return nowhere.called


if __name__ == "__main__":
    unittest.main()

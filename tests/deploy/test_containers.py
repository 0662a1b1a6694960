"""deploy/Containerfile and deploy/kubernetes.yaml.

Goal: the image runs elbow without rights, is found healthy, and ends when it is told to; the manifest
is one that Kubernetes takes, and says of the balancer and of memory what elbow and deploy/aws say.

Method: no container engine is needed. The steps of the Containerfile are carried out in a folder, by
a reader that knows those which may stand there and refuses others; then its entry point runs below
that folder as the user that it names, and its check for health beside it. The manifest is validated
by the schemas of Kubernetes, strictly; what it says is compared with `elbow check`, with the
Containerfile and with the CloudFormation template."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

import facts
from cloud import ROOT
from served import Served, free_port
from test_aws import stack
from test_packages import ELBOW

CONTAINERFILE = os.path.join(ROOT, "deploy/Containerfile")
MANIFEST = os.path.join(ROOT, "deploy/kubernetes.yaml")
SCHEMAS = ("1.30", "1.34")
BALANCER = "service.beta.kubernetes.io/aws-load-balancer-"


class Image:
    """What the steps come to: a folder, and how it is run."""

    def __init__(self, context, root, machine):
        self.root, self.environment, self.owner = root, {}, None
        self.entry = self.check = self.signal = None
        with open(CONTAINERFILE, encoding="utf-8") as file:
            text = re.sub(r"\\\n", " ", file.read())
        steps = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert steps[0] == "FROM scratch", steps[0]
        for step in steps[1:]:
            word, rest = step.split(None, 1)
            getattr(self, word.lower())(rest.replace("${TARGETARCH}", machine), context)

    def arg(self, rest, _):
        assert rest == "TARGETARCH"

    def copy(self, rest, context):
        mode, source, place = re.fullmatch(r"--chmod=(\d+) (\S+) (/\S+)", rest).groups()
        to = os.path.join(self.root, place.lstrip("/"))
        shutil.copyfile(os.path.join(context, source), to)
        os.chmod(to, int(mode, 8))

    def user(self, rest, _):
        self.owner = rest

    def env(self, rest, _):
        name, value = rest.split("=", 1)
        self.environment[name] = value

    def expose(self, rest, _):
        self.port = int(rest)

    def stopsignal(self, rest, _):
        self.signal = rest

    def healthcheck(self, rest, _):
        self.check = json.loads(rest.split(" CMD ", 1)[1])

    def entrypoint(self, rest, _):
        self.entry = json.loads(rest)


def is_static(path):
    with open(path, "rb") as file:
        return b"/ld-linux" not in file.read(8192)


class Containers(unittest.TestCase):
    def test_the_image_runs_is_healthy_and_ends(self):
        if os.geteuid() != 0:
            self.skipTest("SKIPPED: the image is run below a folder, which needs root")
        if not is_static(ELBOW):
            self.skipTest(f"SKIPPED: the image needs the static binary; {ELBOW} is not")
        folder = tempfile.mkdtemp(prefix="elbow-image-")
        self.addCleanup(shutil.rmtree, folder)
        context, root = os.path.join(folder, "context"), os.path.join(folder, "root")
        os.makedirs(context)
        os.makedirs(root)
        os.chmod(folder, 0o755)
        os.chmod(root, 0o755)
        shutil.copy(ELBOW, os.path.join(context, "elbow-amd64"))
        image = Image(context, root, "amd64")
        self.assertEqual(os.listdir(root), ["elbow"])
        self.assertEqual((image.owner, image.signal), ("65534:65534", "SIGTERM"))
        self.assertEqual(image.environment["ELBOW_LISTEN"], f":{image.port}")
        port = free_port()
        server = Served(root, image.entry, {"ELBOW_LISTEN": f"127.0.0.1:{port}"}, port)
        try:
            self.assertIn("<title>", server.get("/"))
            healthy = self.health(image, port)
            status = f"/proc/{server.process.pid}/status"
            with open(status, encoding="utf-8") as file:
                self.assertRegex(file.read(), r"\nUid:(\t65534){4}\nGid:(\t65534){4}\n")
        finally:
            exit_code, logged = server.end()
        self.assertEqual((healthy, exit_code), (0, 0), logged)
        self.assertEqual(self.health(image, port), 1)

    def health(self, image, port):
        ran = subprocess.run(
            image.check, preexec_fn=lambda: os.chroot(image.root),
            env={"ELBOW_LISTEN": f"127.0.0.1:{port}"}, capture_output=True, timeout=30,
        )
        return ran.returncode


class Manifest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(MANIFEST, encoding="utf-8") as file:
            cls.documents = {one["kind"]: one for one in yaml.safe_load_all(file)}
        pod = cls.documents["Deployment"]["spec"]["template"]["spec"]
        cls.pod, (cls.container,) = pod, pod["containers"]

    def test_kubernetes_takes_it(self):
        self.assertEqual(
            list(self.documents), ["Namespace", "Service", "Deployment", "PodDisruptionBudget"])
        for version in SCHEMAS:
            for document in self.documents.values():
                kubernetes_validate.validate(document, version, strict=True)
        broken = json.loads(json.dumps(self.documents["Deployment"]))
        broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, SCHEMAS[0], strict=True)

    def test_labels_and_ports_lead_to_the_container(self):
        labels = self.documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(self.documents["Service"]["spec"]["selector"], labels)
        for kind in ("Deployment", "PodDisruptionBudget"):
            self.assertEqual(self.documents[kind]["spec"]["selector"]["matchLabels"], labels)
        ports = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        port, = self.documents["Service"]["spec"]["ports"]
        self.assertIn(port["targetPort"], ports)
        for probe in ("readinessProbe", "livenessProbe"):
            asked = self.container[probe]["httpGet"]
            self.assertEqual((asked["path"], ports[asked["port"]]), ("/healthz", 3001))

    def test_a_pod_is_ready_only_once_the_balancer_has_it(self):
        # The controller adds its gate to pods of a namespace that says so, and knows of targets by
        # their Service, which therefore comes first.
        namespace = self.documents["Namespace"]["metadata"]
        self.assertEqual(
            namespace["labels"], {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"})
        for kind in ("Service", "Deployment", "PodDisruptionBudget"):
            self.assertEqual(self.documents[kind]["metadata"]["namespace"], namespace["name"])
        rolling = self.documents["Deployment"]["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(rolling["maxUnavailable"], 0)

    def checked(self):
        environment = {one["name"]: one["value"] for one in self.container["env"]}
        ran = subprocess.run([ELBOW, "check"], env=environment, text=True, capture_output=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        return ran.stdout

    def test_memory_is_what_elbow_says_that_it_needs(self):
        total = int(re.search(r"ceiling, total: .*\((\d+) bytes\)", self.checked())[1])
        resources = self.container["resources"]
        self.assertEqual(resources["limits"]["memory"], resources["requests"]["memory"])
        limit = int(resources["limits"]["memory"].removesuffix("Mi")) << 20
        self.assertGreaterEqual(limit, total)
        self.assertLess(limit, total * 1.1)

    def test_there_is_time_to_take_leave(self):
        drain = re.search(r"(?m)^--drain +(\d+)s ", self.checked())[1]
        pause = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], pause + int(drain) + 3)

    def test_the_balancer_is_set_up_as_deploy_aws_does(self):
        annotations = self.documents["Service"]["metadata"]["annotations"]
        said = {name.removeprefix(BALANCER): text for name, text in annotations.items()}
        wanted = facts.of_stack("nlb", stack("nlb"))
        group = wanted["groups"][0]
        pairs = dict(one.split("=") for one in said["target-group-attributes"].split(","))
        self.assertEqual(pairs, group["attributes"])
        self.assertEqual(said["attributes"],
                         f"load_balancing.cross_zone.enabled={wanted['cross zone']}")
        self.assertEqual(said["listener-attributes.TCP-80"],
                         f"tcp.idle_timeout.seconds={wanted['idle timeout']}")
        health = [said[f"healthcheck-{name}"] for name in (
            "port", "path", "interval", "timeout", "healthy-threshold", "unhealthy-threshold")]
        self.assertEqual(
            facts.check(said["healthcheck-protocol"].upper(), *health), group["check"])
        self.assertEqual(("network", said["scheme"]), wanted["balancer"])
        service = self.documents["Service"]["spec"]
        port = service["ports"][0]
        self.assertEqual((port["protocol"], port["port"]), wanted["listener"])

    def test_nothing_may_be_written_and_no_right_is_kept(self):
        security = self.container["securityContext"]
        self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
        self.assertIs(security["readOnlyRootFilesystem"], True)
        self.assertIs(security["allowPrivilegeEscalation"], False)
        with open(CONTAINERFILE, encoding="utf-8") as file:
            user = re.search(r"(?m)^USER (\d+):(\d+)$", file.read()).groups()
        pod = self.pod["securityContext"]
        self.assertEqual((str(pod["runAsUser"]), str(pod["runAsGroup"])), user)


if __name__ == "__main__":
    unittest.main()

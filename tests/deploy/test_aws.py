"""deploy/aws: the templates, the modules and the plain commands make the same.

Goal: whichever way an operator takes, the balancer is set up as elbow needs it, and what one of the
ways learns the others learn, too.

Method: cfn-lint judges the templates. Both templates and modules are carried out by small readers
(cloudformation.py, terraform.py) with the same parameters; the commands run as they are, by the real
`aws`, before a server that keeps an account in memory, and what they have made is asked by
describe-…. All are put into the same words (facts.py) and must be equal, user data to the byte."""

import os
import re
import shutil
import subprocess
import sys
import unittest

import cloudformation
import facts
import terraform
import yaml
from cloud import RELEASE, ROOT, Cloud

AWS = os.path.join(ROOT, "deploy/aws")
URL, SHA256 = RELEASE["RELEASE_URL"], RELEASE["RELEASE_SHA256"]
SCRIPT = os.path.join(AWS, "user-data.sh")


def path_of_template(kind):
    return os.path.join(AWS, f"cloudformation/{kind}.yaml")


def stack(kind, template=None, **parameters):
    colour = "Blue" if kind == "nlb" else ""
    return cloudformation.Stack(template or cloudformation.read(path_of_template(kind)), **{
        "VpcId": "vpc-1", "Subnets": ["subnet-1", "subnet-2"],
        f"{colour}ReleaseUrl": URL, f"{colour}ReleaseSha256": SHA256, **parameters,
    })


def fleet(**given):
    return {
        "release_url": URL, "release_sha256": SHA256, "instances": 1, "weight": 100,
        "proxy_protocol": True, **given,
    }


def module(kind, **variables):
    if kind == "nlb":
        idle = fleet(release_url="", release_sha256="", instances=0, weight=0)
        variables = {"fleets": {"blue": fleet(), "green": idle}} | variables
    else:
        variables = {"release_url": URL, "release_sha256": SHA256} | variables
    folder = os.path.join(AWS, "terraform", kind)
    return terraform.Module(folder, vpc="vpc-1", subnets=["subnet-1", "subnet-2"], **variables)


class Templates(unittest.TestCase):
    maxDiff = None

    def test_cfn_lint_has_nothing_to_say(self):
        ran = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "cfn-lint"),
             path_of_template("nlb"), path_of_template("clb")],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.assertEqual((ran.returncode, ran.stdout), (0, ""))

    def test_templates_hold_the_script_as_it_is(self):
        with open(SCRIPT, encoding="utf-8") as file:
            script = file.read()
        for kind in ("nlb", "clb"):
            path = path_of_template(kind)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            indented = re.sub("(?m)^(?=.)", " " * 8, script)
            begin = text.index("      Text: |\n") + len("      Text: |\n")
            end = text.index("\nResources:\n")
            if os.environ.get("UPDATE"):
                text = text[:begin] + indented + text[end:]
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                end = text.index("\nResources:\n")
            self.assertEqual(text[begin:end], indented, f"UPDATE=1 mends {path}")

    def test_every_reference_of_a_module_leads_somewhere(self):
        for kind in ("nlb", "clb"):
            made = module(kind)
            local = {"each", "path", "target_group", "iam_instance_profile", "group"}
            found = {path for path in made.references() if path.split(".")[0] not in local}
            self.assertGreater(len(found), 20)
            self.assertEqual([path for path in found if not made.knows(path)], [])
            used = {path.split(".")[1] for path in found if path.startswith("var.")}
            self.assertEqual(set(made.variables) - used, set(), "a variable that nobody uses")

    def test_terraform_formats_them_like_this(self):
        if not shutil.which("terraform"):
            self.skipTest("terraform is not installed")
        ran = subprocess.run(
            ["terraform", "fmt", "-check", "-recursive", os.path.join(AWS, "terraform")],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.assertEqual((ran.returncode, ran.stdout), (0, ""))

    def test_template_and_module_make_the_same(self):
        for kind in ("nlb", "clb"):
            with self.subTest(kind):
                self.assertEqual(
                    facts.of_stack(kind, stack(kind)), facts.of_module(kind, module(kind))
                )

    def test_so_they_do_with_everything_changed(self):
        certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/a"
        both = {"ClientNetwork": "203.0.113.0/24", "CertificateArn": certificate,
                "InstanceType": "t4g.small",
                "BalancerNetworks": "10.0.0.0/24,10.0.1.0/24",
                "Settings": "ELBOW_HISTORY=1000;ELBOW_RECOVERY=on"}
        same = {"client_network": "203.0.113.0/24", "certificate": certificate,
                "instance_type": "t4g.small",
                "balancer_networks": ["10.0.0.0/24", "10.0.1.0/24"],
                "settings": ["ELBOW_HISTORY=1000", "ELBOW_RECOVERY=on"]}
        colours = {
            "blue": fleet(instances=2, weight=90, proxy_protocol=False),
            "green": fleet(release_url=f"{URL}/2", release_sha256="cd" * 32, weight=10),
        }
        made = {
            "nlb": (stack("nlb", **both, IdleTimeout=600, BlueInstances=2, BlueWeight=90,
                          BlueProxyProtocol="off", GreenInstances=1, GreenWeight=10,
                          GreenReleaseUrl=f"{URL}/2", GreenReleaseSha256="cd" * 32),
                    module("nlb", **same, idle_timeout=600, fleets=colours)),
            "clb": (stack("clb", **both, IdleTimeout=120, Instances=3, ProxyProtocol="optional",
                          BalancerProxyProtocol="off"),
                    module("clb", **same, idle_timeout=120, instances=3,
                           proxy_protocol="optional", balancer_proxy_protocol=False)),
        }
        for kind, (ours, theirs) in made.items():
            with self.subTest(kind):
                ours, theirs = facts.of_stack(kind, ours), facts.of_module(kind, theirs)
                # A blank line is all that may be between the settings and their end.
                for one in ours["fleets"] + theirs["fleets"]:
                    one["user data"] = one["user data"].replace("\n\nEND-OF", "\nEND-OF")
                self.assertEqual(ours, theirs)
                # Neither kind of balancer is left to what AWS takes by itself, which is older.
                self.assertIn("TLS", str(ours["tls"]))

    def test_whatever_drifts_is_found(self):
        changes = {
            "nlb": [('proxy_protocol_v2.enabled', 'proxy_protocol_v3.enabled'), ('"60"', '"61"'),
                    ('"3001"', '"3000"'), ('ToPort: 3001', 'ToPort: 3002'), ('TCP]', 'UDP]'),
                    ('ELBOW_LB=nlb', 'ELBOW_LB=clb'), ('exec 2>&1', 'exec 2>&-'),
                    ('CidrIp: !Ref ClientNetwork', 'CidrIp: 0.0.0.0/1'), ('!Ref IdleTimeout', '6'),
                    ('Weight: !Ref BlueWeight', 'Weight: 1'), ('HttpTokens: req', 'HttpTokens: ')],
            "clb": [('Value: "true"', 'Value: "false"'), ('["3000"]', '["3001"]'),
                    ('HTTP:3001', 'HTTP:3000'), ('Timeout: 60', 'Timeout: 61'),
                    ('CrossZone: true', 'CrossZone: false'), ('SSL, TCP', 'SSL, HTTP')],
        }
        for kind, pairs in changes.items():
            with open(path_of_template(kind), encoding="utf-8") as file:
                text = file.read()
            wanted = facts.of_module(kind, module(kind))
            for before, after in pairs:
                self.assertIn(before, text)
                changed = yaml.load(text.replace(before, after), cloudformation.Loader)
                self.assertNotEqual(facts.of_stack(kind, stack(kind, changed)), wanted, before)

    def test_redis_is_an_option_with_tls_that_only_instances_reach(self):
        for kind in ("nlb", "clb"):
            ours = stack(kind, RedisNodeType="cache.t4g.micro")
            theirs = module(kind, redis_node_type="cache.t4g.micro")
            self.assertIs(ours.resources["Redis"]["TransitEncryptionEnabled"], True)
            redis = theirs.resource("aws_elasticache_replication_group.redis")
            self.assertEqual((redis["count"], redis["transit_encryption_enabled"]), (1, True))
            for resource, argument in (("Engine", "engine"), ("EngineVersion", "engine_version"),
                                       ("CacheNodeType", "node_type"),
                                       ("NumCacheClusters", "num_cache_clusters")):
                self.assertEqual(ours.resources["Redis"][resource], redis[argument])
            for made in (facts.of_stack(kind, ours), facts.of_module(kind, theirs)):
                self.assertEqual(made["rules"]["redis"], [(6379, 6379, "instances")])
                for one in made["fleets"]:
                    self.assertRegex(one["user data"], r"\nELBOW_REDIS=rediss://@.*:6379\n")
            without = facts.of_stack(kind, stack(kind))
            self.assertNotIn("redis", without["rules"])
            self.assertNotIn("ELBOW_REDIS=", without["fleets"][0]["user data"].split(")\n")[0])


class Commands(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.cloud = Cloud()

    @classmethod
    def tearDownClass(cls):
        cls.cloud.stop()

    def test_the_commands_make_what_the_template_makes(self):
        for kind in ("nlb", "clb"):
            with self.subTest(kind):
                name = f"elbow-{kind}"
                self.cloud.run([os.path.join(AWS, f"commands/{kind}.sh")], NAME=name)
                made = facts.of_account(kind, name, self.cloud.client)
                wanted = facts.of_stack(kind, stack(kind))
                # The commands make no instances that nobody is sent to.
                wanted["fleets"] = wanted["fleets"][:1]
                self.assertEqual(made, wanted)

    def test_user_data_is_a_script_of_no_more_than_16_kib(self):
        for kind in ("nlb", "clb"):
            text = facts.of_stack(kind, stack(kind))["fleets"][0]["user data"]
            self.assertTrue(text.startswith("#!/bin/sh\n"))
            self.assertLess(len(text), 16 * 1024)
            checked = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
            self.assertEqual((checked.returncode, checked.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()

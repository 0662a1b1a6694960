"""`elbow doctor --aws` before a balancer that is set up as deploy/aws does, and before wrong ones.

Goal: the commands run as they are printed, a balancer that is right answers what is expected, and one
that is wrong does not.

Method: deploy/aws' commands make a balancer in an account in memory. The print-out is run command by
command by the real `aws`, each answer is held against the line that says what is expected. Then
attributes are changed one by one, and exactly the command that is about each has to answer otherwise.
An ALB, which deploy/aws does not make, is made here by hand."""

import ipaddress
import os
import re
import subprocess
import unittest

from cloud import ROOT, Cloud

ELBOW = os.environ.get("ELBOW_BIN", os.path.join(ROOT, "target/release/elbow"))
FLAGS = ["--health-listen", "0.0.0.0:3001"]


def answers(expected, shown):
    """Whether what a command has shown is what was expected."""
    if ", or nothing" in expected or expected.endswith(" or nothing"):
        if shown in ("", "None"):
            return True
        expected = re.sub(",? or nothing$", "", expected)
    if expected == "nothing":
        return shown in ("", "None")
    if match := re.fullmatch(r"more than (\d+) and less than (\d+)", expected):
        return shown.isdigit() and int(match[1]) < int(shown) < int(match[2])
    if match := re.fullmatch(r"more than (\d+)", expected):
        return shown.isdigit() and int(shown) > int(match[1])
    if expected.startswith("networks within "):
        within = [ipaddress.ip_network(text) for text in expected.split()[2:]]
        networks = [ipaddress.ip_network(text) for text in shown.split()]
        return bool(networks) and all(
            any(one.version == all_.version and one.subnet_of(all_) for all_ in within)
            for one in networks
        )
    if expected in ("a policy", "a security group"):
        return shown not in ("", "None")
    words = shown.split()
    return bool(words) and all(word in expected.split(" or ") for word in words)


class Doctor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = Cloud()
        cls.names, cls.known = {}, {}
        for kind in ("nlb", "clb"):
            name = f"elbow-{kind}"
            printed = cls.cloud.run([f"deploy/aws/commands/{kind}.sh"], NAME=name)
            cls.names[kind] = dict(line.split("=", 1) for line in printed.split())

    @classmethod
    def tearDownClass(cls):
        cls.cloud.stop()

    def failures(self, kind, flags=(), only=None):
        """The commands that answer something else than expected; `only` those with this text."""
        ran = subprocess.run(
            [ELBOW, "doctor", "--aws", "--lb", kind, *FLAGS, *flags],
            text=True, capture_output=True, env={}, timeout=30,
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        head, *checks = ran.stdout.strip().split("\n\n")
        failed = []
        for check in checks:
            if only and only not in check:
                continue
            command = "\n".join(line for line in check.split("\n") if not line.startswith("#"))
            expected = check.split("\n# expect: ")[1]
            # Without `only` nothing has been changed, and what was asked before is known.
            shown = None if only else self.known.get((kind, command))
            if shown is None:
                shown = self.cloud.run(["sh", "-euc", f"{head}\n{command}"], **self.names[kind])
            if not only:
                self.known[kind, command] = shown
            if not answers(expected, shown.strip()):
                failed.append((command, shown.strip(), expected))
        return failed

    def test_every_way_of_deploy_tells_the_names_that_are_asked_for(self):
        for kind in ("nlb", "clb"):
            ran = subprocess.run([ELBOW, "doctor", "--aws", "--lb", kind, *FLAGS], text=True,
                                 capture_output=True, env={}, timeout=30)
            asked = set(re.findall(r'(?m)^: "\$\{(\w+):', ran.stdout))
            self.assertLess({"BALANCER"}, asked)
            self.assertEqual(asked - set(self.names[kind]), set())
            folder = os.path.join(ROOT, "deploy/aws")
            with open(f"{folder}/cloudformation/{kind}.yaml", encoding="utf-8") as file:
                outputs = file.read().split("\nOutputs:\n")[1]
            told = set(re.findall(r"`elbow doctor --aws` calls ([A-Z]+)", outputs))
            self.assertEqual(told, asked)
            with open(f"{folder}/terraform/{kind}/main.tf", encoding="utf-8") as file:
                told = set(re.findall(r'(?m)^output "([A-Z]+)"', file.read()))
            self.assertEqual(asked - told, set())

    def test_an_nlb_as_deploy_makes_it_answers_what_is_expected(self):
        # The account in memory runs the instances, and says of a target what it says of all.
        self.assertEqual(self.failures("nlb"), [])

    def test_a_clb_as_deploy_makes_it_answers_what_is_expected(self):
        self.assertEqual(self.failures("clb"), [])

    def test_an_nlb_that_is_wrong_answers_something_else(self):
        elbv2, names = self.cloud.client("elbv2"), self.names["nlb"]
        for key, wrong, right in (
            ("proxy_protocol_v2.enabled", "false", "true"),
            ("preserve_client_ip.enabled", "true", "false"),
            ("deregistration_delay.timeout_seconds", "8", "60"),
        ):
            def change(value):
                elbv2.modify_target_group_attributes(
                    TargetGroupArn=names["GROUP"], Attributes=[{"Key": key, "Value": value}])

            change(wrong)
            failed = self.failures("nlb", only="describe-target-group-attributes")
            change(right)
            self.assertEqual([shown for _, shown, _ in failed], [wrong])
            self.assertIn(key, failed[0][0])
        for flags, shown in (
            (["--ping-interval", "174s", "--ping-timeout", "1s"], []),
            (["--listen", ":8080"], ["3000"]),
            (["--health-listen", ":8081"], ["3001"]),
            (["--proxy-protocol", "off"], ["true", "false"]),
            (["--drain", "57s"], ["60"]),
            (["--proxy-trust", "10.9.0.0/24"], ["10.9.0.0/24\t10.9.1.0/24"]),
            (["--proxy-trust", "10.9.0.0/16"], []),
        ):
            given = [flag for flag in FLAGS if flags[0] != "--health-listen"]
            ran = self.failures_of("nlb", given, flags)
            self.assertEqual([one[1] for one in ran], shown, flags)

    def failures_of(self, kind, given, flags):
        before, FLAGS[:] = list(FLAGS), given
        try:
            return self.failures(kind, flags)
        finally:
            FLAGS[:] = before

    def test_instances_that_anybody_reaches_are_found(self):
        ec2 = self.cloud.client("ec2")
        for rule in (
            {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535,
             "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "203.0.113.0/24"}]},
            {"IpProtocol": "tcp", "FromPort": 3001, "ToPort": 3001,
             "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        ):
            group = self.names["nlb"]["INSTANCES"]
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
            failed = self.failures("nlb", only="describe-security-groups")
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
            (_, shown, expected), = failed
            ranges = rule.get("IpRanges", []) + rule.get("Ipv6Ranges", [])
            self.assertEqual((shown, expected), (list(ranges[0].values())[0], "nothing"))

    def test_a_clb_without_its_policy_is_found(self):
        elb, name = self.cloud.client("elb"), self.names["clb"]["BALANCER"]
        port = {"LoadBalancerName": name, "InstancePort": 3000}
        elb.set_load_balancer_policies_for_backend_server(**port, PolicyNames=[])
        failed = self.failures("clb", only="PolicyNames")
        elb.set_load_balancer_policies_for_backend_server(**port, PolicyNames=["elbow-proxy"])
        self.assertEqual([expected for _, _, expected in failed], ["a policy"])
        self.assertEqual(self.failures("clb", only="PolicyNames"), [])

    def test_an_alb_answers_what_is_expected(self):
        elbv2, variables = self.cloud.client("elbv2"), self.cloud.variables
        balancer = elbv2.create_load_balancer(
            Name="elbow-alb", Type="application", Subnets=variables["SUBNETS"].split(),
        )["LoadBalancers"][0]["LoadBalancerArn"]
        group = elbv2.create_target_group(
            Name="elbow-alb", Protocol="HTTP", Port=3000, VpcId=variables["VPC"],
            HealthCheckProtocol="HTTP", HealthCheckPort="3001", HealthCheckPath="/healthz",
        )["TargetGroups"][0]["TargetGroupArn"]
        self.names["alb"] = {"BALANCER": balancer, "GROUP": group,
                             "INSTANCES": self.names["nlb"]["INSTANCES"]}
        instance, = self.cloud.client("ec2").run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"]
        elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": instance["InstanceId"]}])
        # What AWS has by default, and the account in memory has not.
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[
            {"Key": "idle_timeout.timeout_seconds", "Value": "60"},
            {"Key": "routing.http.xff_header_processing.mode", "Value": "append"},
        ])
        elbv2.create_listener(
            LoadBalancerArn=balancer, Protocol="HTTP", Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        self.assertEqual(self.failures("alb"), [])


class Answers(unittest.TestCase):
    def test_what_is_expected_is_held_against_what_is_shown(self):
        for expected, good, bad in (
            ("true", ["true", "true\ttrue"], ["false", "", "None", "true\tfalse"]),
            ("TCP or TLS", ["TCP", "TLS"], ["UDP", "or", ""]),
            ("nothing", ["", "None"], ["0.0.0.0/0"]),
            ("more than 50, or nothing", ["51", "None"], ["50", "x"]),
            ("more than 50 and less than 75", ["60"], ["50", "75"]),
            ("true or nothing", ["true", ""], ["false"]),
            ("a policy", ["elbow-proxy"], ["", "None"]),
            ("networks within 10.0.0.0/8 fc00::/7", ["10.1.0.0/16", "fc00::/8 10.0.0.0/9"],
             ["", "11.0.0.0/16", "10.0.0.0/16 11.0.0.0/16"]),
        ):
            self.assertEqual([one for one in good if not answers(expected, one)], [])
            self.assertEqual([one for one in bad if answers(expected, one)], [])


if __name__ == "__main__":
    unittest.main()

"""An account at AWS that is none: moto's server on loopback, and the real `aws` before it."""

import logging
import os
import subprocess
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASE = {"RELEASE_URL": "https://releases.example/elbow", "RELEASE_SHA256": "ab" * 32}


class Cloud:
    """A VPC with two subnets. `run` runs a command with its variables, `client` asks directly."""

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        _, port = self.server.get_host_and_port()
        self.url = f"http://127.0.0.1:{port}"
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=REGION + zone
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        # Commands run in an environment of their own, where no account of anybody can be found.
        self.variables = {
            "PATH": os.path.dirname(sys.executable) + ":/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/nonexistent",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
            "VPC": vpc,
            "SUBNETS": " ".join(subnets),
            **RELEASE,
        }

    def client(self, service):
        return boto3.client(
            service, REGION, endpoint_url=self.url,
            aws_access_key_id="made-up", aws_secret_access_key="made-up",
        )

    def run(self, command, **variables):
        """Runs a command, a list, in the repository; what it prints. It has to succeed."""
        ran = subprocess.run(
            command, cwd=ROOT, env=self.variables | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
        )
        assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def stop(self):
        # Servers of one process have one account, which the next is to find empty.
        reset = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset, timeout=30).close()
        self.server.stop()

"""What a balancer, its groups, its instances and who may reach them come to, in words of their own,
so that what templates make can be compared with what commands have made."""

import base64
import re

GROUP_KEYS = {
    "proxy_protocol_v2.enabled",
    "preserve_client_ip.enabled",
    "deregistration_delay.timeout_seconds",
    "deregistration_delay.connection_termination.enabled",
    "target_health_state.unhealthy.connection_termination.enabled",
}


def flag(value):
    return {True: "true", False: "false"}.get(value, str(value).lower())


def user_data(encoded):
    return base64.b64decode(encoded).decode()


def check(protocol, port, path, interval, timeout, healthy, unhealthy):
    return f"{protocol} {port} {path}", [int(n) for n in (interval, timeout, healthy, unhealthy)]


def target(text):
    """A check as a CLB has it: `HTTP:3001/healthz`."""
    return re.fullmatch(r"(\w+):(\d+)(/.*)", text).groups()


# --- CloudFormation ---------------------------------------------------------------------------------


def of_stack(kind, stack):
    resources = stack.resources
    rules = {
        role: [
            (int(rule["FromPort"]), int(rule["ToPort"]),
             rule.get("CidrIp") or role_of(rule["SourceSecurityGroupId"]))
            for rule in resources[name]["SecurityGroupIngress"]
        ]
        for role, name in SECURITY_GROUPS.items()
        if name in resources
    }
    fleets = [
        stack_fleet(resources, name) for name in ("BlueFleet", "GreenFleet", "Fleet")
        if name in resources
    ]
    found = {"rules": rules, "fleets": fleets}
    return found | (stack_nlb(resources) if kind == "nlb" else stack_clb(resources))


SECURITY_GROUPS = {
    "balancer": "BalancerSecurityGroup",
    "instances": "InstanceSecurityGroup",
    "redis": "RedisSecurityGroup",
}


def role_of(reference):
    name = reference.removeprefix("@").split(".")[0]
    return {name: role for role, name in SECURITY_GROUPS.items()}[name]


def stack_fleet(resources, name):
    fleet = resources[name]
    template = resources[fleet["LaunchTemplate"]["LaunchTemplateId"].removeprefix("@")]
    data = template["LaunchTemplateData"]
    assert data["SecurityGroupIds"] == ["@InstanceSecurityGroup.GroupId"]
    return {
        "instances": {int(fleet[key]) for key in ("MinSize", "MaxSize", "DesiredCapacity")},
        "health": (fleet["HealthCheckType"], fleet["HealthCheckGracePeriod"]),
        "type": data["InstanceType"],
        "metadata": data["MetadataOptions"]["HttpTokens"],
        "user data": user_data(data["UserData"]),
    }


def stack_nlb(resources):
    balancer, listener = resources["Balancer"], resources["Listener"]
    forward = listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
    groups = [resources[one["TargetGroupArn"].removeprefix("@")] for one in forward]
    attributes = {one["Key"]: str(one["Value"]) for one in listener.get("ListenerAttributes", [])}
    return {
        "balancer": (balancer["Type"], balancer["Scheme"]),
        "cross zone": balancer["LoadBalancerAttributes"][0]["Value"],
        "listener": (listener["Protocol"], int(listener["Port"])),
        "tls": listener.get("SslPolicy"),
        "idle timeout": attributes.get("tcp.idle_timeout.seconds"),
        "weights": [int(one["Weight"]) for one in forward],
        "groups": [
            {
                "target": (group["TargetType"], group["Protocol"], int(group["Port"])),
                "check": check(
                    group["HealthCheckProtocol"], group["HealthCheckPort"],
                    group["HealthCheckPath"], group["HealthCheckIntervalSeconds"],
                    group["HealthCheckTimeoutSeconds"], group["HealthyThresholdCount"],
                    group["UnhealthyThresholdCount"],
                ),
                "attributes": {one["Key"]: one["Value"] for one in group["TargetGroupAttributes"]},
            }
            for group in groups
        ],
    }


def stack_clb(resources):
    balancer = resources["Balancer"]
    listener, health = balancer["Listeners"][0], balancer["HealthCheck"]
    policies = balancer.get("Policies", [])
    return {
        "balancer": ("classic", balancer["Scheme"]),
        "cross zone": flag(balancer["CrossZone"]),
        "listener": (listener["Protocol"], int(listener["LoadBalancerPort"]),
                     listener["InstanceProtocol"], int(listener["InstancePort"])),
        "idle timeout": str(balancer["ConnectionSettings"]["IdleTimeout"]),
        "draining": (balancer["ConnectionDrainingPolicy"]["Enabled"],
                     balancer["ConnectionDrainingPolicy"]["Timeout"]),
        "check": check(*target(health["Target"]), health["Interval"], health["Timeout"],
                       health["HealthyThreshold"], health["UnhealthyThreshold"]),
        "proxy": [
            (policy["PolicyType"], policy["Attributes"][0]["Value"], int(port))
            for policy in policies for port in policy.get("InstancePorts", [])
        ],
        "tls": [
            (policy["PolicyType"], policy["Attributes"][0]["Name"],
             policy["Attributes"][0]["Value"])
            for policy in policies if policy["PolicyName"] in listener.get("PolicyNames", [])
        ],
    }


# --- Terraform --------------------------------------------------------------------------------------


def of_module(kind, module):
    rules = {}
    for role in ("balancer", "instances", "redis"):
        group = module.resource(f"aws_security_group.{role}")
        if group.get("count", 1) == 0:
            continue
        rules[role] = [
            (rule["from_port"], rule["to_port"],
             (rule.get("cidr_blocks") or [module_role(rule["security_groups"][0])])[0])
            for rule in group["ingress"]
        ]
    colours = module.variables.get("fleets", {None: None})
    scopes = [{"each": {"key": key, "value": value}} for key, value in sorted(colours.items())]
    found = {"rules": rules, "fleets": [module_fleet(module, scope) for scope in scopes]}
    return found | (module_nlb(module, scopes) if kind == "nlb" else module_clb(module))


def module_role(reference):
    return re.fullmatch(r"@aws_security_group\.(\w+)(\[0\])?\.id", reference)[1]


def module_fleet(module, scope):
    fleet = module.resource("aws_autoscaling_group.fleet", scope)
    template = module.resource("aws_launch_template.fleet", scope)
    assert template["vpc_security_group_ids"] == ["@aws_security_group.instances.id"]
    return {
        "instances": {fleet[key] for key in ("min_size", "max_size", "desired_capacity")},
        "health": (fleet["health_check_type"], fleet["health_check_grace_period"]),
        "type": template["instance_type"],
        "metadata": template["metadata_options"][0]["http_tokens"],
        "user data": user_data(template["user_data"]),
    }


def module_nlb(module, scopes):
    balancer, listener = module.resource("aws_lb.balancer"), module.resource("aws_lb_listener.listener")
    idle = listener["tcp_idle_timeout_seconds"]
    groups = [module.resource("aws_lb_target_group.fleet", scope) for scope in scopes]
    return {
        "balancer": (balancer["load_balancer_type"], scheme(balancer)),
        "cross zone": flag(balancer["enable_cross_zone_load_balancing"]),
        "listener": (listener["protocol"], listener["port"]),
        "tls": listener["ssl_policy"],
        "idle timeout": None if idle is None else str(idle),
        "weights": [one["weight"] for one in
                    listener["default_action"][0]["forward"][0]["target_group"]],
        "groups": [
            {
                "target": (group["target_type"], group["protocol"], group["port"]),
                "check": module_check(group["health_check"][0]),
                "attributes": {
                    "proxy_protocol_v2.enabled": flag(group["proxy_protocol_v2"]),
                    "preserve_client_ip.enabled": flag(group["preserve_client_ip"]),
                    "deregistration_delay.timeout_seconds": str(group["deregistration_delay"]),
                    "deregistration_delay.connection_termination.enabled":
                        flag(group["connection_termination"]),
                    "target_health_state.unhealthy.connection_termination.enabled": flag(
                        group["target_health_state"][0]["enable_unhealthy_connection_termination"]
                    ),
                },
            }
            for group in groups
        ],
    }


def scheme(balancer):
    return "internal" if balancer["internal"] else "internet-facing"


def module_check(health):
    return check(*(health[key] for key in (
        "protocol", "port", "path", "interval", "timeout", "healthy_threshold", "unhealthy_threshold"
    )))


def module_clb(module):
    balancer = module.resource("aws_elb.balancer")
    listener, health = balancer["listener"][0], balancer["health_check"][0]
    policy = module.resource("aws_proxy_protocol_policy.proxy")
    return {
        "balancer": ("classic", scheme(balancer)),
        "cross zone": flag(balancer["cross_zone_load_balancing"]),
        "listener": (listener["lb_protocol"].upper(), listener["lb_port"],
                     listener["instance_protocol"].upper(), listener["instance_port"]),
        "idle timeout": str(balancer["idle_timeout"]),
        "draining": (balancer["connection_draining"], balancer["connection_draining_timeout"]),
        "check": check(*target(health["target"]), health["interval"], health["timeout"],
                       health["healthy_threshold"], health["unhealthy_threshold"]),
        "proxy": [("ProxyProtocolPolicyType", "true", int(port))
                  for port in policy["instance_ports"] for _ in range(policy["count"])],
        "tls": module_tls_of_clb(module),
    }


def module_tls_of_clb(module):
    policy = module.resource("aws_load_balancer_policy.tls")
    on_listener = module.resource("aws_load_balancer_listener_policy.tls")
    assert on_listener["load_balancer_port"] == module.resource("aws_elb.balancer")["listener"][0][
        "lb_port"]
    assert on_listener["policy_names"] == ["@aws_load_balancer_policy.tls[0].policy_name"]
    assert policy["count"] == on_listener["count"]
    attribute, = policy["policy_attribute"]
    of_policy = (policy["policy_type_name"], attribute["name"], attribute["value"])
    return [of_policy] * policy["count"]


# --- What is there ----------------------------------------------------------------------------------


def of_account(kind, name, client):
    """What describe-… says of what `commands/KIND.sh` has made; `client` makes boto3's clients."""
    ec2 = client("ec2")
    groups = {
        group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]
    }
    roles = {role: groups[f"{name}-{role}"] for role in ("balancer", "instances")}
    by_id = {group["GroupId"]: role for role, group in roles.items()}
    rules = {
        role: [
            (rule["FromPort"], rule["ToPort"], source)
            for rule in group["IpPermissions"]
            for source in [one["CidrIp"] for one in rule["IpRanges"]]
            + [by_id[one["GroupId"]] for one in rule["UserIdGroupPairs"]]
        ]
        for role, group in roles.items()
    }
    autoscaling = client("autoscaling")
    fleet, = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
        "AutoScalingGroups"]
    versions = ec2.describe_launch_template_versions(
        LaunchTemplateId=fleet["LaunchTemplate"]["LaunchTemplateId"])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert data["SecurityGroupIds"] == [roles["instances"]["GroupId"]]
    fleets = [{
        "instances": {fleet[key] for key in ("MinSize", "MaxSize", "DesiredCapacity")},
        "health": (fleet["HealthCheckType"], fleet["HealthCheckGracePeriod"]),
        "type": data["InstanceType"],
        "metadata": data["MetadataOptions"]["HttpTokens"],
        "user data": user_data(data["UserData"]),
    }]
    found = {"rules": rules, "fleets": fleets}
    balancer = account_nlb if kind == "nlb" else account_clb
    return found | balancer(name, client, roles["balancer"]["GroupId"])


def account_nlb(name, client, security_group):
    elbv2 = client("elbv2")
    balancer, = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"]
    assert balancer["SecurityGroups"] == [security_group]
    arn = balancer["LoadBalancerArn"]
    attributes = pairs(elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn))
    listener, = elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    idle = pairs(elbv2.describe_listener_attributes(ListenerArn=listener["ListenerArn"]))
    forward = listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
    groups = []
    for one in forward:
        arn = one["TargetGroupArn"]
        group, = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"]
        all_of_it = pairs(elbv2.describe_target_group_attributes(TargetGroupArn=arn))
        groups.append({
            "target": (group["TargetType"], group["Protocol"], group["Port"]),
            "check": check(
                group["HealthCheckProtocol"], group["HealthCheckPort"], group["HealthCheckPath"],
                group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"],
                group["HealthyThresholdCount"], group["UnhealthyThresholdCount"],
            ),
            "attributes": {key: all_of_it[key] for key in GROUP_KEYS},
        })
    return {
        "balancer": (balancer["Type"], balancer["Scheme"]),
        "cross zone": attributes["load_balancing.cross_zone.enabled"],
        "listener": (listener["Protocol"], listener["Port"]),
        "tls": listener.get("SslPolicy") if listener["Protocol"] == "TLS" else None,
        "idle timeout": idle["tcp.idle_timeout.seconds"],
        "weights": [one["Weight"] for one in forward],
        "groups": groups,
    }


def pairs(answer):
    return {one["Key"]: one["Value"] for one in answer["Attributes"]}


def account_clb(name, client, security_group):
    elb = client("elb")
    balancer, = elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"]
    assert balancer["SecurityGroups"] == [security_group]
    answer = elb.describe_load_balancer_attributes(LoadBalancerName=name)
    attributes = answer["LoadBalancerAttributes"]
    listener, = [one["Listener"] for one in balancer["ListenerDescriptions"]]
    health = balancer["HealthCheck"]
    policies = {
        policy["PolicyName"]: policy
        for policy in elb.describe_load_balancer_policies(LoadBalancerName=name)[
            "PolicyDescriptions"]
    }
    return {
        "balancer": ("classic", balancer["Scheme"]),
        "cross zone": flag(attributes["CrossZoneLoadBalancing"]["Enabled"]),
        "listener": (listener["Protocol"], listener["LoadBalancerPort"],
                     listener["InstanceProtocol"], listener["InstancePort"]),
        "idle timeout": str(attributes["ConnectionSettings"]["IdleTimeout"]),
        "draining": (attributes["ConnectionDraining"]["Enabled"],
                     attributes["ConnectionDraining"]["Timeout"]),
        "check": check(*target(health["Target"]), health["Interval"], health["Timeout"],
                       health["HealthyThreshold"], health["UnhealthyThreshold"]),
        "proxy": [
            (policies[policy]["PolicyTypeName"],
             policies[policy]["PolicyAttributeDescriptions"][0]["AttributeValue"],
             server["InstancePort"])
            for server in balancer["BackendServerDescriptions"] for policy in server["PolicyNames"]
        ],
        # The commands make no listener with TLS.
        "tls": [],
    }

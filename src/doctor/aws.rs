//! What `elbow doctor --aws` prints: commands that ask AWS how the balancer in front is set up, and
//! what each of them has to answer for the flags in use.
//!
//! The print-out is a script of the shell whose comments say what is expected. Nothing here speaks to
//! AWS: the operator has the rights to ask, elbow needs none. Names of resources are variables
//! (`BALANCER`, `LISTENER`, `GROUP`, `INSTANCES`), since elbow cannot know them.
//!
//! The surprise: a check for health may ask another port than clients do, so the two ports are told
//! apart throughout, and a listener on a Unix socket has none.

use std::fmt::Write as _;

use crate::config::{Config, Endpoint, Lb, Listen};
use crate::settings::ProxyMode;

/// How long after the drain connections may stay, in seconds.
const AFTER_DRAIN_S: u64 = 3;

/// One command, and what it has to answer.
struct Check {
    /// What is looked at, and what happens where it is otherwise; a line for each item.
    about: Vec<String>,
    /// What follows `aws`, up to the query.
    command: String,
    /// What of the answer is shown, in JMESPath.
    query: String,
    /// What has to be shown.
    expected: String,
}

impl Check {
    fn new(command: &str, query: &str, expected: impl Into<String>, about: &[&str]) -> Check {
        let about = about.iter().map(|line| (*line).to_owned()).collect();
        Check {
            about,
            command: command.to_owned(),
            query: query.to_owned(),
            expected: expected.into(),
        }
    }
}

/// What of the flags the balancer has to agree with.
struct Flags<'a> {
    config: &'a Config,
    /// The port for clients.
    port: u16,
    /// The port that is asked for health.
    health_port: u16,
}

/// The print-out for these flags: text of several lines, each ended.
///
/// # Errors
/// A line that says which flag is missing, if there is no balancer or no port that one can reach.
pub(super) fn script(config: &Config) -> Result<String, String> {
    let port = config.listen.iter().find_map(port);
    let port = port.ok_or("--listen has no port that a balancer can reach: --aws needs one")?;
    let health_port = config.health_listen.as_ref().and_then(self::port).unwrap_or(port);
    let flags = Flags { config, port, health_port };
    let (names, checks): (&[(&str, &str)], Vec<Check>) = match config.lb {
        Lb::None => return Err("--aws needs to know the balancer: --lb clb, nlb or alb".to_owned()),
        Lb::Clb => (&CLB_NAMES, flags.clb()),
        Lb::Nlb => (&NLB_NAMES, flags.nlb()),
        Lb::Alb => (&ALB_NAMES, flags.alb()),
    };
    let mut text = String::from(
        "# What the balancer's side has to be for these flags. Set the variables, then run the\n\
         # commands one by one, or this as a script of the shell.\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("a String takes everything");
        text.push('\n');
    };
    for (name, what) in names {
        line(format_args!(": \"${{{name}:?{what}}}\""));
    }
    for check in checks {
        line(format_args!(""));
        for about in &check.about {
            line(format_args!("# {about}"));
        }
        line(format_args!("aws {} \\", check.command));
        line(format_args!("    --output text --query '{}'", check.query));
        line(format_args!("# expect: {}", check.expected));
    }
    Ok(text)
}

const CLB_NAMES: [(&str, &str); 2] = [("BALANCER", "the name of the balancer"), INSTANCES];

const NLB_NAMES: [(&str, &str); 4] = [
    ("BALANCER", "the ARN of the balancer"),
    ("LISTENER", "the ARN of its listener"),
    ("GROUP", "the ARN of the target group"),
    INSTANCES,
];

const ALB_NAMES: [(&str, &str); 3] =
    [("BALANCER", "the ARN of the balancer"), ("GROUP", "the ARN of the target group"), INSTANCES];

const INSTANCES: (&str, &str) = ("INSTANCES", "the id of the security group of the instances");

/// The port of a listener; `None` for a Unix socket, and for a port of the system's choice.
fn port(listen: &Listen) -> Option<u16> {
    let port = match listen {
        Listen::Any(port) => *port,
        Listen::At(Endpoint::Ip(address)) => address.port(),
        Listen::At(Endpoint::Unix(_)) => return None,
    };
    (port != 0).then_some(port)
}

impl Flags<'_> {
    fn clb(&self) -> Vec<Check> {
        let (port, health_port) = (self.port, self.health_port);
        let balancer = |query: &str, expected: &str, about: &[&str]| {
            let command = "elb describe-load-balancers --load-balancer-names \"$BALANCER\"";
            Check::new(command, &format!("LoadBalancerDescriptions[0].{query}"), expected, about)
        };
        let attribute = |query: &str, expected: String, about: &[&str]| {
            let command =
                "elb describe-load-balancer-attributes --load-balancer-name \"$BALANCER\"";
            Check::new(command, &format!("LoadBalancerAttributes.{query}"), expected, about)
        };
        let listeners = format!("ListenerDescriptions[?Listener.InstancePort==`{port}`].Listener");
        let servers = format!("BackendServerDescriptions[?InstancePort==`{port}`].PolicyNames[]");
        let (policies, proxy) = match self.config.settings.proxy {
            ProxyMode::Required => ("a policy", "true"),
            ProxyMode::Optional => ("a policy or nothing", "true or nothing"),
            ProxyMode::Off => ("nothing", "true or nothing"),
        };
        let mut checks = vec![
            balancer(
                &format!("{listeners}.Protocol"),
                "TCP or SSL",
                &["Clients come by TCP or TLS: a listener for HTTP takes WebSockets apart."],
            ),
            balancer(
                &format!("{listeners}.InstanceProtocol"),
                "TCP",
                &["It speaks plain TCP to the instances."],
            ),
            balancer(
                &servers,
                policies,
                &["The PROXY policy stands on the port of the instances, or no header is sent."],
            ),
        ];
        checks.push(Check::new(
            "elb describe-load-balancer-policies --load-balancer-name \"$BALANCER\"",
            "PolicyDescriptions[?PolicyTypeName==`\"ProxyProtocolPolicyType\"`]\
             .PolicyAttributeDescriptions[].AttributeValue",
            proxy,
            &["That policy switches the header on."],
        ));
        let target = format!("HTTP:{health_port}/healthz");
        checks.push(balancer(
            "HealthCheck.Target",
            &target,
            &["A check by TCP would not notice a process that is stuck."],
        ));
        checks.push(attribute("ConnectionSettings.IdleTimeout", self.idle(), &[IDLE]));
        checks.push(attribute(
            "ConnectionDraining.Enabled",
            "True".to_owned(),
            &["Without draining an instance that is taken out loses its connections at once."],
        ));
        checks.push(attribute("ConnectionDraining.Timeout", self.drain(), &[DRAIN]));
        checks.push(attribute("CrossZoneLoadBalancing.Enabled", "True".to_owned(), &[ZONES]));
        checks.push(Check::new(
            "elb describe-instance-health --load-balancer-name \"$BALANCER\"",
            "InstanceStates[].State",
            "InService",
            &["Every instance is well."],
        ));
        let subnets = "$(aws elb describe-load-balancers --load-balancer-names \"$BALANCER\" \
                       --output text --query 'LoadBalancerDescriptions[0].Subnets')";
        self.add_networks(&mut checks, subnets);
        checks
    }

    fn nlb(&self) -> Vec<Check> {
        let proxy = self.config.settings.proxy;
        let mut checks = vec![
            balancer("Type", "network", &["It is a Network Load Balancer."]),
            balancer(
                "SecurityGroups[0]",
                "a security group",
                &["With a group of its own the instances can admit it and nobody else."],
            ),
            balancer_attribute("load_balancing.cross_zone.enabled", "true", &[ZONES]),
            Check::new(
                "elbv2 describe-listeners --listener-arns \"$LISTENER\"",
                "Listeners[].Protocol",
                "TCP or TLS",
                &["Others are not meant for WebSockets, or cannot hide client addresses."],
            ),
            Check::new(
                "elbv2 describe-listener-attributes --listener-arn \"$LISTENER\"",
                "Attributes[?Key==`\"tcp.idle_timeout.seconds\"`].Value",
                format!("{}, or nothing", self.idle()),
                &[IDLE, "A TLS listener has no such attribute; it forgets after 350 s."],
            ),
        ];
        self.add_group(&mut checks, "TCP");
        let (header, preserved) = match proxy {
            ProxyMode::Required => ("true", "false"),
            ProxyMode::Optional => ("true or false", "false"),
            ProxyMode::Off => ("false", "true"),
        };
        checks.push(group_attribute(
            "proxy_protocol_v2.enabled",
            header,
            &["The PROXY header, version 2: as --proxy-protocol has it."],
        ));
        let about: &[&str] = match proxy {
            ProxyMode::Required | ProxyMode::Optional => {
                &["Otherwise the peer is the client itself, whose header is not believed."]
            }
            ProxyMode::Off => &["Without the header, this is what tells who the client is."],
        };
        checks.push(group_attribute("preserve_client_ip.enabled", preserved, about));
        checks.push(group_attribute(
            "deregistration_delay.timeout_seconds",
            &self.drain(),
            &[DRAIN],
        ));
        checks.push(group_attribute(
            "deregistration_delay.connection_termination.enabled",
            "false",
            &["elbow takes leave of its clients itself."],
        ));
        checks.push(group_attribute(
            "target_health_state.unhealthy.connection_termination.enabled",
            "false",
            &["Otherwise one failed check too many resets every connection."],
        ));
        self.add_networks(&mut checks, ZONE_SUBNETS);
        checks
    }

    fn alb(&self) -> Vec<Check> {
        let keep_alive_s = self.config.settings.keep_alive.as_millis() / 1000;
        let idle = format!("{} and less than {keep_alive_s}", self.idle());
        let mut checks = vec![
            balancer("Type", "application", &["It is an Application Load Balancer."]),
            balancer_attribute(
                "idle_timeout.timeout_seconds",
                &idle,
                &[IDLE, "And it has to be the first to close an HTTP connection that it reuses."],
            ),
            balancer_attribute(
                "routing.http.xff_header_processing.mode",
                "append",
                &["X-Forwarded-For is what tells who the client is."],
            ),
        ];
        self.add_group(&mut checks, "HTTP");
        checks.push(group(
            "ProtocolVersion",
            "HTTP1",
            &["A WebSocket begins as a request of HTTP/1.1."],
        ));
        checks.push(group_attribute(
            "deregistration_delay.timeout_seconds",
            &self.drain(),
            &[DRAIN],
        ));
        self.add_networks(&mut checks, ZONE_SUBNETS);
        checks
    }

    /// What groups for an NLB and for an ALB have in common.
    fn add_group(&self, checks: &mut Vec<Check>, protocol: &str) {
        let port = self.port.to_string();
        let health_port = match self.health_port {
            own if own == self.port => format!("{own} or traffic-port"),
            own => own.to_string(),
        };
        checks.push(group("Protocol", protocol, &["What it speaks to the instances."]));
        checks.push(group("Port", &port, &["Where it reaches them: --listen."]));
        checks.push(group(
            "HealthCheckProtocol",
            "HTTP",
            &["A check by TCP would not notice a process that is stuck."],
        ));
        checks.push(group(
            "HealthCheckPort",
            &health_port,
            &["Where it asks for health: --health-listen, or else --listen."],
        ));
        checks.push(group(
            "HealthCheckPath",
            "/healthz",
            &["/readyz would take every connection down when elbow is full."],
        ));
        checks.push(Check::new(
            "elbv2 describe-target-health --target-group-arn \"$GROUP\"",
            "TargetHealthDescriptions[].TargetHealth.State",
            "healthy",
            &["Every instance is well."],
        ));
    }

    /// Who may reach the instances, and whose word is believed about clients.
    fn add_networks(&self, checks: &mut Vec<Check>, subnets: &str) {
        let (first, last) = (self.port.min(self.health_port), self.port.max(self.health_port));
        checks.push(Check::new(
            "ec2 describe-security-groups --group-ids \"$INSTANCES\"",
            &format!(
                "SecurityGroups[].IpPermissions[?IpProtocol==`\"-1\"` || \
                 FromPort<=`{last}` && ToPort>=`{first}`][]\
                 .[IpRanges[].CidrIp, Ipv6Ranges[].CidrIpv6][][]"
            ),
            "nothing",
            &[
                "The instances admit groups, that of the balancer first of all, and no networks:",
                "whoever gets past the balancer can speak under any client's address.",
            ],
        ));
        let trust = self.config.settings.trust.0.iter().map(ToString::to_string);
        let trust = trust.collect::<Vec<_>>().join(" ");
        checks.push(Check::new(
            &format!("ec2 describe-subnets --subnet-ids \\\n    {subnets}"),
            "Subnets[].CidrBlock",
            format!("networks within {trust}"),
            &["The balancer's subnets are in --proxy-trust; clients are not."],
        ));
    }

    /// The idle timeout that pings keep away.
    fn idle(&self) -> String {
        let twice_ms = self.config.settings.limits.ping_interval.as_millis() * 2;
        format!("more than {}", twice_ms.div_ceil(1000))
    }

    /// How long the balancer has to leave connections alone that elbow is closing.
    fn drain(&self) -> String {
        let drain_ms = self.config.settings.limits.drain.as_millis();
        format!("more than {}", drain_ms.div_ceil(1000) + AFTER_DRAIN_S)
    }
}

const IDLE: &str = "Pings have to come twice as often: twice --ping-interval.";
const DRAIN: &str = "Time for elbow to take leave of its clients: --drain, and 3 s.";
const ZONES: &str = "Otherwise one instance takes the whole load of its zone.";
const ZONE_SUBNETS: &str = "$(aws elbv2 describe-load-balancers --load-balancer-arns \"$BALANCER\" --output text \
     --query 'LoadBalancers[0].AvailabilityZones[].SubnetId')";

fn balancer(query: &str, expected: &str, about: &[&str]) -> Check {
    let command = "elbv2 describe-load-balancers --load-balancer-arns \"$BALANCER\"";
    Check::new(command, &format!("LoadBalancers[0].{query}"), expected, about)
}

fn balancer_attribute(key: &str, expected: &str, about: &[&str]) -> Check {
    let command = "elbv2 describe-load-balancer-attributes --load-balancer-arn \"$BALANCER\"";
    Check::new(command, &format!("Attributes[?Key==`\"{key}\"`].Value"), expected, about)
}

fn group(query: &str, expected: &str, about: &[&str]) -> Check {
    let command = "elbv2 describe-target-groups --target-group-arns \"$GROUP\"";
    Check::new(command, &format!("TargetGroups[0].{query}"), expected, about)
}

fn group_attribute(key: &str, expected: &str, about: &[&str]) -> Check {
    let command = "elbv2 describe-target-group-attributes --target-group-arn \"$GROUP\"";
    Check::new(command, &format!("Attributes[?Key==`\"{key}\"`].Value"), expected, about)
}

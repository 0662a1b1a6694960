//! `elbow doctor --aws`: which commands are printed for which flags, and what they have to answer.
//! Whether AWS' program takes them, and what a balancer that is set up rightly answers, is tested in
//! `tests/deploy`.

use super::{Outcome, execute, execute_with};

fn script(args: &[&str]) -> String {
    let Outcome { exit_code, out, err, ran } = execute(&[&["doctor", "--aws"], args].concat());
    assert_eq!((exit_code, err.as_str(), ran), (0, "", false));
    out
}

/// What the command that has `part` in it is expected to answer.
fn expected<'a>(script: &'a str, part: &str) -> &'a str {
    let mut found = script.split("\n\n").filter(|check| check.contains(part));
    let check = found.next().unwrap_or_else(|| panic!("{part}: {script}"));
    assert!(found.next().is_none(), "{part} is there twice");
    let (_, expected) =
        check.rsplit_once("\n# expect: ").expect("a check ends in what is expected");
    expected.trim_end()
}

#[test]
fn each_check_says_why_what_and_what_is_expected() {
    for lb in ["clb", "nlb", "alb"] {
        let script = script(&["--lb", lb]);
        let mut checks = script.split("\n\n");
        let head = checks.next().expect("there is a head");
        assert!(head.contains(": \"${BALANCER:?"), "{head}");
        for check in checks {
            let mut lines = check.trim_end().lines();
            assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{check}");
            assert!(lines.any(|line| line.starts_with("aws ")), "{check}");
            let last = lines.next_back().unwrap_or_default();
            assert!(last.len() > 10 && last.starts_with("# expect: "), "{check}");
        }
        // Whatever is asked by a variable is named at the head.
        for (at, _) in
            script.match_indices("\"$").filter(|(at, _)| !script[at + 2..].starts_with('{'))
        {
            let name = script[at + 2..].split('"').next().expect("a name ends");
            assert!(head.contains(&format!("${{{name}:?")), "{name}");
        }
    }
}

#[test]
fn what_is_expected_follows_the_flags() {
    let plain = script(&["--lb", "nlb"]);
    assert_eq!(expected(&plain, ".Port'"), "3000");
    assert_eq!(expected(&plain, ".HealthCheckPort"), "3000 or traffic-port");
    assert_eq!(expected(&plain, "tcp.idle_timeout.seconds"), "more than 50, or nothing");
    assert_eq!(expected(&plain, "deregistration_delay.timeout"), "more than 8");
    assert_eq!(expected(&plain, "proxy_protocol_v2.enabled"), "true");
    assert_eq!(expected(&plain, "preserve_client_ip.enabled"), "false");
    let args = ["--lb", "nlb", "--listen", "unix:/run/a,:80", "--health-listen", "[::]:81"];
    let more = ["--ping-interval", "60500ms", "--drain", "1m", "--proxy-protocol", "off"];
    let trust = ["--proxy-trust", "10.1.0.0/24,10.1.1.0/24"];
    let other = script(&[&args[..], &more, &trust].concat());
    assert_eq!(expected(&other, ".Port'"), "80");
    assert_eq!(expected(&other, ".HealthCheckPort"), "81");
    assert!(other.contains("FromPort<=`81` && ToPort>=`80`"));
    assert_eq!(expected(&other, "tcp.idle_timeout.seconds"), "more than 121, or nothing");
    assert_eq!(expected(&other, "deregistration_delay.timeout"), "more than 63");
    assert_eq!(expected(&other, "proxy_protocol_v2.enabled"), "false");
    assert_eq!(expected(&other, "preserve_client_ip.enabled"), "true");
    assert_eq!(expected(&other, "describe-subnets"), "networks within 10.1.0.0/24 10.1.1.0/24");
}

#[test]
fn a_classic_and_an_application_balancer_are_asked_in_their_own_words() {
    let clb = script(&["--lb", "clb", "--health-listen", "0.0.0.0:3001"]);
    assert_eq!(expected(&clb, "HealthCheck.Target"), "HTTP:3001/healthz");
    assert_eq!(expected(&clb, "ProxyProtocolPolicyType"), "true");
    assert_eq!(expected(&clb, "InstancePort==`3000`].PolicyNames"), "a policy");
    assert_eq!(expected(&clb, "ConnectionSettings.IdleTimeout"), "more than 50");
    assert!(!clb.contains("elbv2") && !clb.contains("$GROUP"));
    let moving = script(&["--lb", "clb", "--proxy-protocol", "optional"]);
    assert_eq!(expected(&moving, "ProxyProtocolPolicyType"), "true or nothing");
    let alb = script(&["--lb", "alb"]);
    assert_eq!(expected(&alb, "idle_timeout.timeout_seconds"), "more than 50 and less than 75");
    assert_eq!(expected(&alb, ".ProtocolVersion"), "HTTP1");
    assert!(!alb.contains("proxy_protocol") && !alb.contains("$LISTENER"));
}

#[test]
fn variables_of_the_server_are_heard() {
    let env = |name: &str| (name == "ELBOW_LB").then(|| "alb".to_owned());
    let outcome = execute_with(&["doctor", "--aws"], env);
    assert_eq!(outcome.exit_code, 0);
    assert!(outcome.out.contains("application"));
}

#[test]
fn who_stands_behind_no_balancer_and_who_cannot_be_reached_is_told() {
    for (args, exit_code, why) in [
        (&["--aws"][..], 78, "--lb clb, nlb or alb"),
        (&["--aws", "--lb", "nlb", "--listen", "unix:/run/a"], 78, "--listen has no port"),
        (&["--aws", "--lb", "nlb", "--listen", "127.0.0.1:0"], 78, "--listen has no port"),
        (&["--aws", "--lb", "nlb", "--ping-interval", "200s"], 78, "contradicts --lb nlb"),
        (&["--aws", "--lb", "elb"], 2, "--lb"),
        (&["--aws", "--lb", "nlb", "--json"], 2, "--json"),
        (&["--aws", "--lb", "nlb", "--url", "http://127.0.0.1:1"], 2, "--url"),
        (&["--lb", "nlb", "--url", "http://127.0.0.1:1"], 2, "--lb has a meaning only with --aws"),
    ] {
        let outcome = execute(&[&["doctor"], args].concat());
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (exit_code, ""), "{args:?}");
        assert!(outcome.err.contains(why), "{args:?}: {}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1);
    }
}

//! What the doctor says, each of it of a server that is really in that state, and of neighbours
//! that are not.

use super::{POLLING, SOCKET_IO, V2_LOCAL, WS, World, text};
use crate::harness::{READABLE, masked};
use elbow::metrics::findings::{Finding, findings};
use elbow::metrics::{Backplane, Balancer, Process, Surroundings};
use elbow::reason::CloseReason;
use elbow::server::Listener;
use elbow::settings::{Events, ProxyMode, Trust};
use elbow::time::Duration;

impl World {
    fn findings(&mut self, balancer: Balancer) -> Vec<Finding> {
        let around = Surroundings { balancer, ..Surroundings::default() };
        findings(&self.survey(), &around)
    }

    fn found(&mut self, balancer: Balancer) -> Vec<&'static str> {
        self.findings(balancer).iter().map(|finding| finding.id).collect()
    }

    /// A connection from this address that sends these bytes.
    fn bring(&mut self, ip: &str, bytes: &[u8]) {
        let (client, id) = self.connect(ip);
        self.say(&client, id, bytes);
    }
}

/// A server behind a balancer that has to write PROXY headers.
fn behind_balancer() -> World {
    World::with(|settings| {
        settings.proxy = ProxyMode::Required;
        settings.trust = Trust(vec!["10.0.0.0/8".parse().expect("a network")]);
    })
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const NOTHING: [&str; 0] = [];

#[test]
fn a_server_that_is_well_has_no_findings() {
    let mut world = World::with(|_| {});
    assert_eq!(world.found(Balancer::None), NOTHING);
    for number in 0..20 {
        let (client, id) = world.socket(&format!("192.0.2.{number}"), WS, "");
        world.say(&client, id, &text(b"hello"));
        // People leave when they like.
        if number % 2 == 0 {
            world.pass(Duration::from_millis(number * 777));
            client.0.borrow_mut().ended = true;
            world.ready(id, READABLE);
        }
        let (client, id) = world.connect_to(Listener::Health, "10.0.0.1");
        world.say(&client, id, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    world.now.unix_s += 70;
    for balancer in [Balancer::None, Balancer::Network, Balancer::Classic, Balancer::Application] {
        assert_eq!(world.found(balancer), NOTHING);
    }
}

#[test]
fn a_header_that_is_missing_is_told_with_the_command_of_the_balancer() {
    let mut world = behind_balancer();
    (0..3).for_each(|_| world.bring("10.0.0.1", REQUEST));
    let found = world.findings(Balancer::Network);
    assert_eq!((found[0].id, found.len()), ("no_proxy_header", 1));
    assert!(found[0].remedy.contains("proxy_protocol_v2.enabled,Value=true"), "{found:?}");
    assert!(found[0].text.starts_with("3 connections"), "{found:?}");
    assert!(world.findings(Balancer::Classic)[0].remedy.contains("ProxyProtocolPolicyType"));
    assert!(world.findings(Balancer::None)[0].remedy.contains("--proxy-protocol off"));
    // Where the balancer's headers come, strangers without one are no sign.
    (0..30).for_each(|_| world.bring("10.0.0.1", V2_LOCAL));
    assert_eq!(world.found(Balancer::Network), NOTHING);
}

#[test]
fn what_was_mended_is_not_told_for_ever() {
    let mut world = behind_balancer();
    world.bring("10.0.0.1", REQUEST);
    for minute in 0..11 {
        let found = world.found(Balancer::None);
        assert_eq!(found.is_empty(), minute >= 10, "{minute}: {found:?}");
        world.pass(Duration::from_secs(60));
        world.now.unix_s += 60;
    }
}

#[test]
fn a_header_of_the_other_version_is_told() {
    let mut world = behind_balancer();
    world.bring("10.0.0.1", V1);
    assert_eq!(world.found(Balancer::Network), ["proxy_version"]);
    assert_eq!(world.found(Balancer::Classic), NOTHING);
    assert_eq!(world.found(Balancer::None), NOTHING);
    let mut world = behind_balancer();
    world.bring("10.0.0.1", V2_LOCAL);
    assert_eq!(world.found(Balancer::Classic), ["proxy_version"]);
    assert_eq!(world.found(Balancer::Network), NOTHING);
}

#[test]
fn headers_from_strangers_are_told_with_what_brings_them_about() {
    let mut world = behind_balancer();
    world.bring("203.0.113.9", V1);
    let found = world.findings(Balancer::Network);
    assert_eq!((found[0].id, found.len()), ("untrusted_proxy_header", 1));
    assert!(found[0].remedy.contains("preserve_client_ip.enabled,Value=false"), "{found:?}");
    assert!(world.findings(Balancer::Classic)[0].remedy.contains("--proxy-trust"));
    (0..10).for_each(|_| world.bring("10.0.0.1", V2_LOCAL));
    assert_eq!(world.found(Balancer::Network), NOTHING);
}

#[test]
fn connections_that_die_at_a_regular_age_are_told_with_that_age() {
    let mut world = World::with(|_| {});
    for number in 0..12 {
        let (client, id) = world.socket(&format!("192.0.2.{number}"), WS, "");
        // As jitter has it.
        world.pass(Duration::from_millis(10_000 + number * 20));
        client.0.borrow_mut().reset = true;
        world.ready(id, READABLE);
        world.settle();
        world.now.unix_s += 10;
        let expected: &[&str] = if number < 9 { &[] } else { &["idle_timeout"] };
        assert_eq!(world.found(Balancer::Network), expected);
    }
    let found = world.findings(Balancer::Network);
    assert!(found[0].text.contains("for about 10 s"), "{found:?}");
    assert!(found[0].remedy.contains("--ping-interval 5s"), "{found:?}");
    assert!(found[0].remedy.contains("tcp.idle_timeout.seconds"), "{found:?}");
    assert!(world.findings(Balancer::Classic)[0].remedy.contains("IdleTimeout="));
    assert!(world.findings(Balancer::Application)[0].remedy.contains("idle_timeout.timeout_"));
    assert!(world.findings(Balancer::None)[0].remedy.contains("at the proxy"));

    // Whoever goes at once, or says goodbye, decides that by itself.
    let mut world = World::with(|_| {});
    for number in 0..24 {
        let (client, id) = world.socket(&format!("192.0.2.{number}"), WS, "");
        if number % 2 == 0 {
            world.pass(Duration::from_secs(10));
            world.now.unix_s += 10;
            world.say(&client, id, &masked(0x88, b""));
        } else {
            client.0.borrow_mut().reset = true;
            world.ready(id, READABLE);
        }
    }
    assert_eq!(world.found(Balancer::Network), NOTHING);
}

#[test]
fn health_checks_that_fail_or_ask_for_readiness_are_told() {
    let mut world = World::with(|_| {});
    let check = |world: &mut World, target: &str, agent: &str| {
        let (client, id) = world.connect_to(Listener::Health, "10.0.0.1");
        world.get(&client, id, target, &format!("User-Agent: {agent}\r\n"));
    };
    check(&mut world, "/readyz", "kube-probe/1.30");
    assert_eq!(world.found(Balancer::None), NOTHING);
    assert_eq!(world.found(Balancer::Network), ["readyz_health_checks"]);
    check(&mut world, "/readyz", "ELB-HealthChecker/2.0");
    let found = world.findings(Balancer::Application);
    assert_eq!((found[0].id, found.len()), ("readyz_health_checks", 1));
    assert!(found[0].remedy.contains("--health-check-path /healthz"), "{found:?}");
    check(&mut world, "/", "ELB-HealthChecker/2.0");
    assert_eq!(world.found(Balancer::None), ["failing_health_checks", "readyz_health_checks"]);
    assert!(world.findings(Balancer::Classic)[0].remedy.contains("Target=HTTP:PORT/healthz"));
}

#[test]
fn a_crowd_from_one_address_is_told_once_it_is_one() {
    let mut world = World::with(|_| {});
    for number in 0..10 {
        assert_eq!(world.found(Balancer::None), NOTHING, "{number}");
        world.socket("10.0.0.1", WS, "");
    }
    let found = world.findings(Balancer::None);
    assert_eq!((found[0].id, found.len()), ("one_address", 1));
    assert!(found[0].text.starts_with("At least 10 of 10 members"), "{found:?}");
    assert!(found[0].text.contains("a private one") && found[0].remedy.contains("--lb"));
    let around = Surroundings { is_told_clients: true, ..Surroundings::default() };
    let told = findings(&world.survey(), &around);
    assert!(told[0].remedy.starts_with("--proxy-trust"), "{told:?}");
    for number in 0..2 {
        world.socket(&format!("192.0.2.{number}"), WS, "");
    }
    assert_eq!(world.found(Balancer::None), NOTHING);
}

#[test]
fn greetings_that_outnumber_everything_else_are_told() {
    let mut world = World::with(|settings| settings.events = Events::All);
    for number in 0..46 {
        assert_eq!(world.found(Balancer::None), NOTHING, "{number}");
        let (client, id) = world.socket(&format!("192.0.2.{number}"), SOCKET_IO, "");
        world.say(&client, id, &text(b"40"));
    }
    let found = world.findings(Balancer::None);
    assert_eq!((found[0].id, &*found[0].remedy), ("greeting_storm", "--greeting off"));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_server_that_is_full_is_told() {
    let mut world = World::with(|settings| settings.limits.connections_max = 10);
    (0..8).for_each(|number| drop(world.socket(&format!("192.0.2.{number}"), WS, "")));
    assert_eq!(world.found(Balancer::None), NOTHING);
    world.socket("192.0.2.8", WS, "");
    assert_eq!(world.found(Balancer::None), ["max_connections"]);
    world.socket("192.0.2.9", WS, "");
    let (client, id) = world.connect("192.0.2.10");
    let answer = world.get(&client, id, POLLING, "");
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    let found = world.findings(Balancer::None);
    assert!(found[0].text.contains("10 of 10") && found[0].text.contains("1 newcomers"));
}

#[test]
fn descriptors_near_their_limit_are_told() {
    let mut world = World::with(|_| {});
    let mut snapshot = world.survey();
    for (descriptors, is_told) in [(921, false), (922, true), (1024, true)] {
        let process = Process { descriptors, descriptors_max: 1024, ..Process::default() };
        snapshot.process = Some(process);
        let found = findings(&snapshot, &Surroundings::default());
        assert_eq!(found.first().is_some_and(|it| it.id == "descriptors"), is_told, "{found:?}");
    }
}

#[test]
fn memory_that_is_used_up_is_told() {
    let mut world = World::with(|settings| settings.limits.memory_bytes = 256 * 1024);
    assert_eq!(world.found(Balancer::None), NOTHING);
    let mut clients = Vec::new();
    for number in 0..300 {
        let (client, id) =
            world.socket(&format!("192.0.{}.{}", number / 100, number % 100), WS, "");
        // The beginning of a message, which has to be kept.
        let whole = masked(0x82, &[7; 1000]);
        world.say(&client, id, &whole[..whole.len() - 1]);
        clients.push(client);
    }
    assert_eq!(world.found(Balancer::None), ["memory"]);
    world.pass(Duration::from_secs(5));
    assert!(world.survey().metrics.closed(CloseReason::NoMemory) > 0);
}

#[test]
fn readers_that_were_too_slow_are_told() {
    let mut world = World::with(|_| {});
    let (publisher, id) = world.socket("192.0.2.1", WS, "");
    world.socket("192.0.2.2", WS, "").0.stop_reading();
    for _ in 0..9 {
        assert_eq!(world.found(Balancer::None), NOTHING);
        world.say(&publisher, id, &masked(0x82, &[7; 500]));
        world.pass(Duration::from_secs(2));
        world.now.unix_s += 2;
        if !world.found(Balancer::None).is_empty() {
            break;
        }
    }
    assert_eq!(world.found(Balancer::None), ["readers_lapped"]);
}

#[test]
fn a_clock_that_goes_wrong_is_told() {
    let mut world = World::with(|_| {});
    world.now.mono = world.now.mono.plus(Duration::from_secs(100));
    for (step, is_told) in [(100, false), (105, false), (95, false), (106, true), (94, true)] {
        world.now.unix_s = 1_700_000_000 + step;
        let found = world.found(Balancer::None);
        assert_eq!(found == ["clock"], is_told, "{step}: {found:?}");
    }
    world.now.unix_s = 3;
    assert_eq!(world.found(Balancer::None), ["clock"]);
}

#[test]
fn a_backplane_that_is_away_is_told() {
    let mut world = World::with(|_| {});
    let mut snapshot = world.survey();
    for (is_connected, count) in [(true, 0), (false, 1)] {
        snapshot.backplane = Some(Backplane { is_connected, ..Backplane::default() });
        let found = findings(&snapshot, &Surroundings::default());
        assert_eq!(found.len(), count, "{found:?}");
    }
}

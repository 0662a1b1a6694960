//! What is wrong with a server or with what stands around it, as far as its numbers tell, and the
//! flag or the command that mends it.
//!
//! A finding is about the last minutes: what was counted since [`Snapshot::before`], or what is so
//! now. So a mistake that was mended is not told for ever. What happens on every good day (a
//! scanner that sends no PROXY header, somebody who leaves) is no finding.
//!
//! The surprise: an idle timeout between client and server can be measured. Whoever leaves does so
//! at any time. If nearly all peers had been silent for the same time when they were found to be
//! gone, it was no choice of theirs.

use super::{Balancer, Metrics, ProbeShape, Refusal, Snapshot, Surroundings, Unsaid};
use crate::reason::CloseReason;
use crate::time::Duration;

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The name of the kind of finding: small letters and `_`. The same for every such finding.
    pub id: &'static str,
    /// What is wrong, in a sentence or two.
    pub text: String,
    /// What mends it: a flag, or a command with capital letters for what has to be filled in.
    pub remedy: String,
}

/// Members below which nothing is said of where all of them come from.
const CROWD_MIN: u64 = 10;
/// Peers that vanished below which nothing is said of when they do.
const VANISHED_MIN: u64 = 10;
/// A silence below which a peer's end is taken for its own decision, in microseconds.
const SILENCE_MIN_US: u64 = 2_000_000;
/// Greetings below which nothing is said of them.
const GREETINGS_MIN: u64 = 1_000;
/// By so many seconds a clock may be set without a word: what time servers do all day is less.
const CLOCK_STEP_S: u64 = 5;
/// November 2023. No clock that goes right says less.
const PAST_UNIX_S: u64 = 1_700_000_000;

/// Switches PROXY headers on at a Network Load Balancer.
const NLB_HEADER: &str = "aws elbv2 modify-target-group-attributes --target-group-arn ARN \
    --attributes Key=proxy_protocol_v2.enabled,Value=true";
/// Switches PROXY headers on at a Classic Load Balancer.
const CLB_HEADER: &str = "aws elb create-load-balancer-policy --load-balancer-name NAME \
    --policy-name elbow-proxy --policy-type-name ProxyProtocolPolicyType \
    --policy-attributes AttributeName=ProxyProtocol,AttributeValue=true; \
    aws elb set-load-balancer-policies-for-backend-server --load-balancer-name NAME \
    --instance-port PORT --policy-names elbow-proxy";
/// Has a Network Load Balancer connect from its own addresses.
const NLB_OWN_ADDRESS: &str = "aws elbv2 modify-target-group-attributes --target-group-arn ARN \
    --attributes Key=preserve_client_ip.enabled,Value=false";
/// Has a target group ask whether the process lives.
const TARGET_GROUP_CHECK: &str = "aws elbv2 modify-target-group --target-group-arn ARN \
    --health-check-protocol HTTP --health-check-path /healthz";
/// Has a Classic Load Balancer ask whether the process lives.
const CLB_CHECK: &str = "aws elb configure-health-check --load-balancer-name NAME --health-check \
    Target=HTTP:PORT/healthz,Interval=10,Timeout=5,UnhealthyThreshold=2,HealthyThreshold=2";

/// Everything that is wrong, the balancer's side first. Allocates for what it finds.
pub fn findings(snapshot: &Snapshot, around: &Surroundings) -> Vec<Finding> {
    let judge = Judge { snapshot, around };
    let found = [
        judge.missing_headers(),
        judge.versions_of_headers(),
        judge.untrusted_headers(),
        judge.regular_ends(),
        judge.failing_probes(),
        judge.probes_of_readiness(),
        judge.one_address(),
        judge.greetings(),
        judge.sessions(),
        judge.descriptors(),
        judge.memory(),
        judge.lapped(),
        judge.backplane(),
        judge.clock(),
    ];
    found.into_iter().flatten().collect()
}

/// What is looked at.
struct Judge<'s> {
    snapshot: &'s Snapshot,
    around: &'s Surroundings,
}

fn finding(id: &'static str, text: String, remedy: impl Into<String>) -> Option<Finding> {
    Some(Finding { id, text, remedy: remedy.into() })
}

/// Whether `part` is at least nine tenths of `whole`.
fn is_nearly_all(part: u64, whole: u64) -> bool {
    whole > 0 && u128::from(part) * 10 >= u128::from(whole) * 9
}

impl Judge<'_> {
    /// How much of something was counted in the last minutes.
    fn lately(&self, count: impl Fn(&Metrics) -> u64) -> u64 {
        count(&self.snapshot.metrics) - count(&self.snapshot.before)
    }

    /// PROXY headers that were believed in the last minutes, of one version.
    fn headers(&self, version: usize) -> u64 {
        self.lately(|metrics| metrics.proxy_headers[version - 1].iter().sum())
    }

    fn missing_headers(&self) -> Option<Finding> {
        let missing = self.lately(|metrics| metrics.closed(CloseReason::ProxyMissing));
        let there = self.headers(1) + self.headers(2);
        // Strangers who try a port are no sign, if the balancer's connections are in order.
        if missing == 0 || there >= 10 * missing {
            return None;
        }
        let remedy = match self.around.balancer {
            Balancer::Network => NLB_HEADER,
            Balancer::Classic => CLB_HEADER,
            Balancer::None | Balancer::Application => {
                "switch the PROXY protocol on at the balancer, or use --proxy-protocol off"
            }
        };
        let text = format!(
            "{missing} connections were closed, since they did not begin with the PROXY header \
             that --proxy-protocol required asks for; {there} did."
        );
        finding("no_proxy_header", text, remedy)
    }

    fn versions_of_headers(&self) -> Option<Finding> {
        let (expected, other) = match self.around.balancer {
            Balancer::Network => (2, 1),
            Balancer::Classic => (1, 2),
            Balancer::None | Balancer::Application => return None,
        };
        let headers = self.headers(other);
        if headers == 0 {
            return None;
        }
        let (name, is, right) = match self.around.balancer {
            Balancer::Classic => ("clb", "Network", "nlb"),
            Balancer::Network | Balancer::None | Balancer::Application => ("nlb", "Classic", "clb"),
        };
        let text = format!(
            "{headers} PROXY headers were of version {other}, but --lb {name} stands for a \
             balancer that writes version {expected}: something else writes them."
        );
        let remedy = format!(
            "--lb {right}, if it is a {is} Load Balancer; otherwise --lb none and --proxy-trust"
        );
        finding("proxy_version", text, remedy)
    }

    fn untrusted_headers(&self) -> Option<Finding> {
        let untrusted = self.lately(|metrics| metrics.closed(CloseReason::ProxyUntrusted));
        let there = self.headers(1) + self.headers(2);
        if untrusted == 0 || there >= 10 * untrusted {
            return None;
        }
        let text = format!(
            "{untrusted} PROXY headers came from addresses outside --proxy-trust, and their \
             connections were closed. If these are addresses of clients, the balancer passes them \
             on as its own (client IP preservation)."
        );
        let remedy = match self.around.balancer {
            Balancer::Network => format!("--proxy-trust NETWORK, or {NLB_OWN_ADDRESS}"),
            Balancer::None | Balancer::Classic | Balancer::Application => {
                "--proxy-trust NETWORK, with the networks of the balancer".to_owned()
            }
        };
        finding("untrusted_proxy_header", text, remedy)
    }

    fn regular_ends(&self) -> Option<Finding> {
        let silences = self.snapshot.metrics.silences.since(&self.snapshot.before.silences);
        let vanished = silences.count();
        if vanished < VANISHED_MIN {
            return None;
        }
        // Two classes next to each other, since a time may lie at the border of two.
        let classes: Vec<(u64, u64)> = silences.classes().collect();
        let ends = |place: usize| classes.get(place).map_or(0, |(end_us, _)| *end_us);
        let pairs =
            (1..classes.len()).map(|place| (place, classes[place - 1].1 + classes[place].1));
        let (place, alike) = pairs.max_by_key(|(_, count)| *count)?;
        if alike * 4 < vanished * 3 || ends(place) < SILENCE_MIN_US {
            return None;
        }
        let begin_us = if place < 2 { 0 } else { ends(place - 2) + 1 };
        let mean_us = (silences.sum_us() / vanished).clamp(begin_us, ends(place));
        let (silence_s, interval) = (mean_us / 1_000_000, self.snapshot.limits.ping_interval);
        let text = format!(
            "{alike} of {vanished} clients that vanished without a word had been silent for about \
             {silence_s} s: something in between ends connections that are idle for so long. \
             --ping-interval is {interval}."
        );
        let shorter_s = (silence_s / 2).max(1);
        let longer_s = (2 * interval.as_millis().div_ceil(1000)).max(60);
        let command = match self.around.balancer {
            Balancer::Network => format!(
                "aws elbv2 modify-listener-attributes --listener-arn ARN \
                 --attributes Key=tcp.idle_timeout.seconds,Value={longer_s}"
            ),
            Balancer::Classic => format!(
                "aws elb modify-load-balancer-attributes --load-balancer-name NAME \
                 --load-balancer-attributes ConnectionSettings={{IdleTimeout={longer_s}}}"
            ),
            Balancer::Application => format!(
                "aws elbv2 modify-load-balancer-attributes --load-balancer-arn ARN \
                 --attributes Key=idle_timeout.timeout_seconds,Value={longer_s}"
            ),
            Balancer::None => format!("an idle timeout of {longer_s} s at the proxy in between"),
        };
        finding("idle_timeout", text, format!("--ping-interval {shorter_s}s, or {command}"))
    }

    fn failing_probes(&self) -> Option<Finding> {
        let failed = self.lately(|metrics| metrics.probes_failed);
        if failed == 0 {
            return None;
        }
        let text = format!(
            "{failed} health checks were answered with 503, since the server was full or draining, \
             or with 404 for a path that is not there."
        );
        let remedy = match self.around.balancer {
            Balancer::Network | Balancer::Application => TARGET_GROUP_CHECK,
            Balancer::Classic => CLB_CHECK,
            Balancer::None => {
                "ask /healthz for whether the process lives; raise --max-connections or --memory \
                 if /readyz says that it is full"
            }
        };
        finding("failing_health_checks", text, remedy)
    }

    fn probes_of_readiness(&self) -> Option<Finding> {
        let asked = match self.around.balancer {
            Balancer::Classic | Balancer::Network => {
                self.lately(|metrics| metrics.probes(ProbeShape::Ready))
            }
            Balancer::None | Balancer::Application => {
                self.lately(|metrics| metrics.probes_of_balancers)
            }
        };
        if asked == 0 {
            return None;
        }
        let text = format!(
            "{asked} health checks of the balancer asked /readyz, which says no while the server \
             is full or draining: then a balancer may reset the connections that are there."
        );
        let remedy = match self.around.balancer {
            Balancer::Classic => CLB_CHECK,
            Balancer::None | Balancer::Network | Balancer::Application => TARGET_GROUP_CHECK,
        };
        finding("readyz_health_checks", text, remedy)
    }

    fn one_address(&self) -> Option<Finding> {
        let (one, all) = (self.snapshot.members_of_one_address, self.snapshot.size());
        if all < CROWD_MIN || !is_nearly_all(one, all) {
            return None;
        }
        let text = format!(
            "At least {one} of {all} members come from one address{}: the addresses of clients are \
             lost on the way, and limits for each address hold for all of them together.",
            if self.snapshot.is_one_address_private { ", a private one" } else { "" }
        );
        let remedy = if self.around.is_told_clients {
            "--proxy-trust NETWORK, with the networks of all proxies in front; and have the first \
             of them write the header or the field"
        } else {
            "--lb nlb, clb or alb; or --proxy-protocol required with --proxy-trust NETWORK, and \
             the PROXY protocol switched on at the proxy in front"
        };
        finding("one_address", text, remedy)
    }

    fn greetings(&self) -> Option<Finding> {
        let greetings = self.lately(|metrics| metrics.greetings_sent);
        let delivered = self.lately(|metrics| metrics.messages_delivered);
        if greetings < GREETINGS_MIN || greetings * 2 < delivered {
            return None;
        }
        let text = format!(
            "{greetings} of about {} messages that readers were sent were greetings of newcomers: \
             each goes to everybody who is there, so a crowd that comes at once brings its square.",
            delivered.max(greetings)
        );
        finding("greeting_storm", text, "--greeting off")
    }

    fn sessions(&self) -> Option<Finding> {
        let connections = &self.snapshot.connections;
        let used = connections.websocket + connections.socketio + connections.sse;
        let most = self.snapshot.limits.connections_max as u64;
        let refused = self.lately(|metrics| metrics.refused(Refusal::Sessions));
        if refused == 0 && !is_nearly_all(used, most) {
            return None;
        }
        let text = format!(
            "{used} of {most} sessions are in use, and {refused} newcomers were refused for that."
        );
        finding("max_connections", text, "--max-connections NUMBER, or another instance")
    }

    fn descriptors(&self) -> Option<Finding> {
        let process = self.snapshot.process?;
        let (used, most) = (process.descriptors, process.descriptors_max);
        if !is_nearly_all(used, most) {
            return None;
        }
        let text = format!("{used} of {most} descriptors are in use: then nobody can connect.");
        finding("descriptors", text, "LimitNOFILE= in the unit, or ulimit -n, or --max-connections")
    }

    fn memory(&self) -> Option<Finding> {
        let most = self.snapshot.limits.memory_bytes;
        let used = most.saturating_sub(self.snapshot.memory.free);
        let closed = self.lately(|metrics| metrics.closed(CloseReason::NoMemory));
        let refused = self.lately(|metrics| metrics.refused(Refusal::Memory));
        let unsaid = self.lately(|metrics| metrics.unsaid(Unsaid::NoMemory));
        // What is set aside for `default` is in use from the beginning, and never lacking.
        let set_aside = self.snapshot.set_aside_bytes();
        let is_full = is_nearly_all(used.saturating_sub(set_aside), most.saturating_sub(set_aside));
        if closed + refused + unsaid == 0 && !is_full {
            return None;
        }
        let text = format!(
            "{used} of {most} bytes of --memory are in use; for want of memory {closed} \
             connections were closed, {refused} newcomers refused, and {unsaid} messages not said."
        );
        finding("memory", text, "--memory SIZE, or a smaller --feed or --max-channels")
    }

    fn lapped(&self) -> Option<Finding> {
        let lapped = self.lately(|metrics| metrics.readers_lapped);
        if lapped == 0 {
            return None;
        }
        let text = format!(
            "{lapped} readers were closed as too slow: more was said than they took, and the ring \
             has overtaken them."
        );
        finding("readers_lapped", text, "--feed SIZE gives readers more time, --send-buffer, too")
    }

    fn backplane(&self) -> Option<Finding> {
        let backplane = self.snapshot.backplane.as_ref()?;
        if backplane.is_connected {
            return None;
        }
        let text = format!(
            "Redis cannot be reached; {} bytes of messages wait for it.",
            backplane.pending_bytes
        );
        finding("backplane_away", text, "--redis URL, and see the log for what Redis says")
    }

    fn clock(&self) -> Option<Finding> {
        let snapshot = self.snapshot;
        let remedy = "run a time service: timedatectl set-ntp true";
        if snapshot.unix_s < PAST_UNIX_S {
            let text = format!("The clock says {} s since 1970, which is past.", snapshot.unix_s);
            return finding("clock", text, remedy);
        }
        let expected = snapshot.started_unix_s + snapshot.uptime.as_millis() / 1000;
        let step = snapshot.unix_s.abs_diff(expected);
        if step <= CLOCK_STEP_S {
            return None;
        }
        let length = Duration::from_secs(step);
        let text = format!(
            "The clock was set by {length} since the server began, or the machine has slept: what \
             depends on the time of day may be wrong."
        );
        finding("clock", text, remedy)
    }
}

//! Health probes: whether the process lives, and whether it should get new connections.
//!
//! The surprise: while draining, `/healthz` stays at 200. To an NLB a failing health check means
//! that it may reset what still lives, so it is `/readyz` that says no.

use super::Probe;
use super::respond::{Answer, NO_STORE, RETRY_AFTER};
use crate::metrics::ProbeShape;
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::http::Request;

/// What the name begins with that the health checker of an AWS load balancer gives itself.
const BALANCER_AGENT: &[u8] = b"ELB-HealthChecker/";

impl<S: Socket> Server<S> {
    pub(super) fn answer_probe(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        probe: Probe,
    ) {
        self.metrics.count_probe(match probe {
            Probe::Alive => ProbeShape::Alive,
            Probe::Ready => ProbeShape::Ready,
        });
        let agent = request.field("user-agent").unwrap_or_default();
        let is_balancers = probe == Probe::Ready && agent.starts_with(BALANCER_AGENT);
        self.metrics.probes_of_balancers += u64::from(is_balancers);
        let full = self.lacks_room_for_newcomers().is_some();
        let (status, text): (u16, &[u8]) = match probe {
            Probe::Alive => (200, b"ok"),
            Probe::Ready if self.drain.is_some() => (503, b"draining"),
            Probe::Ready if self.is_cut_off(now) => (503, b"backplane"),
            Probe::Ready if full => (503, b"full"),
            Probe::Ready => (200, b"ok"),
        };
        self.metrics.probes_failed += u64::from(status != 200);
        let fields: &[_] = if status == 503 { &[NO_STORE, RETRY_AFTER] } else { &[NO_STORE] };
        self.respond(now, slot, request, Answer::plain(status).with(fields).saying(text));
    }
}

//! Which path and method gets what: a probe's answer, a file, a WebSocket, an event stream, a
//! session, a refusal.
//!
//! Everything is decided from the request head alone. Only a session's POST wants its body; any
//! other is discarded behind the answer.
//!
//! The surprise: a trusted peer that began without the PROXY header it should have sent gets an
//! answer to a probe, and nothing else.

use super::Probe;
use super::files::ALLOW_READ;
use super::respond::{Answer, RETRY_AFTER};
use super::{stream, upgrade};
use crate::conn::Requester;
use crate::metrics::Refusal;
use crate::reason::CloseReason;
use crate::server::{Denial, Server, Socket};
use crate::time::Now;
use crate::wire::base_path::{BASE_PATH_BYTES_MAX, BasePath};
use crate::wire::http::{self, FIELDS_MAX, HeadError, Method, Request};
use crate::wire::{host, ws};
use crate::{limits, work};
use core::net::{IpAddr, SocketAddr};

/// Longest path that is looked up, decoded. No file that is served has a longer one.
const PATH_BYTES_MAX: usize = BASE_PATH_BYTES_MAX + 1024;

impl<S: Socket> Server<S> {
    /// Answers the request whose head is `head`, or ends the connection.
    pub(in crate::server) fn answer(&mut self, now: Now, slot: u32, head: &[u8]) {
        work::count(|work| work.requests += 1);
        let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let request = match http::parse(head, &mut storage) {
            Ok(request) => request,
            Err(error) => return self.refuse_head(now, slot, error),
        };
        self.take_forwarded(slot, &request);
        let requester = self.connections.conn(slot).requester();
        let probe = match requester {
            Requester::Health | Requester::Admin => Probe::at(&BasePath::default(), request.path),
            Requester::Client | Requester::Probe => {
                Probe::at(&self.settings.base_path, request.path)
            }
        };
        let reads = matches!(request.method, Method::Get | Method::Head);
        let asks = request.method == Method::Options;
        match (requester, probe) {
            (Requester::Admin, probe) => self.answer_admin(now, slot, &request, probe),
            (Requester::Probe, Some(probe)) if reads => {
                self.answer_probe(now, slot, &request, probe);
            }
            (Requester::Probe, _) => self.remove(now, slot, CloseReason::ProxyMissing, false),
            (Requester::Client | Requester::Health, Some(probe)) if reads => {
                self.answer_probe(now, slot, &request, probe);
            }
            (Requester::Client | Requester::Health, Some(_)) if asks => {
                self.answer_options(now, slot, &request, ALLOW_READ);
            }
            // HAProxy's check, as it comes: it may name no host, and lie outside of the base path.
            (Requester::Client | Requester::Health, None)
                if asks && matches!(request.path, "*" | "/") =>
            {
                self.answer_options(now, slot, &request, ALLOW_READ);
            }
            (Requester::Client | Requester::Health, Some(_)) => {
                self.respond(now, slot, &request, Answer::plain(405).with(&[ALLOW_READ]));
            }
            (Requester::Health, None) => {
                self.metrics.probes_failed += 1;
                self.respond(now, slot, &request, Answer::plain(404));
            }
            (Requester::Client, None) => self.answer_client(now, slot, &request),
        }
    }

    fn answer_client(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        if !self.goes_by(request.authority) {
            let wants_stream = request.has_token("accept", "text/event-stream");
            let wants_socket = request.has_token("upgrade", "websocket");
            if wants_stream || wants_socket || request.path.contains("/socket.io") {
                self.report_denial(slot, Denial::host(request.authority));
            }
            let answer = Answer::plain(421).saying(b"this server has another name");
            return self.respond(now, slot, request, answer);
        }
        let mut decoded = [0; PATH_BYTES_MAX];
        let decoded = http::percent_decode(request.path, &mut decoded);
        let Some(path) = decoded.and_then(|path| self.settings.base_path.below(path)) else {
            return self.answer_nothing(now, slot, request, "WebSockets are below --base-path");
        };
        if matches!(path, "/socket.io" | "/socket.io/") {
            return self.answer_engine(now, slot, request);
        }
        if let Some(channel) = stream::channel_at(path) {
            return self.answer_stream(now, slot, request, channel);
        }
        if let Some(channel) = upgrade::channel_at(path) {
            if request.method == Method::Options {
                let allow = if matches!(path, "" | "/") { ALLOW_READ } else { ws::ALLOW };
                return self.answer_options(now, slot, request, allow);
            }
            match upgrade::check(request) {
                Ok(Some(offer)) => return self.upgrade(now, slot, request, channel, offer),
                Ok(None) if matches!(path, "" | "/") => {}
                Ok(None) if request.method != Method::Get => {
                    let answer = Answer::plain(405).with(&[ws::ALLOW]);
                    return self.respond(now, slot, request, answer);
                }
                Ok(None) => {
                    return self.refuse_upgrade(now, slot, request, ws::Refusal::NotAnUpgrade);
                }
                Err(refusal) => return self.refuse_upgrade(now, slot, request, refusal),
            }
        }
        self.answer_file(now, slot, request, path);
    }

    /// Whether `authority` names this server. The page of a foreign name that was made to lead here
    /// (DNS rebinding) has the right `Origin` for it, so only the name itself tells.
    fn goes_by(&self, authority: Option<&str>) -> bool {
        let hosts = &self.settings.hosts;
        hosts.is_empty() || authority.is_some_and(|authority| host::is_named(authority, hosts))
    }

    /// Behind an ALB the client's address is what a trusted peer says it is. Without the field,
    /// which an ALB always sends, what was known before stands.
    fn take_forwarded(&mut self, slot: u32, request: &Request<'_, '_>) {
        let conn = self.connections.conn(slot);
        // No balancer stands in front of the admin listener.
        let is_admin = conn.requester() == Requester::Admin;
        if !self.settings.forwarded_for || !conn.is_trusted() || is_admin {
            return;
        }
        // The rightmost entry was written by the peer itself, the next by whom that one names, and
        // so on: the first from there that is not trusted is the client, and what is left of it is
        // hearsay, as is what stands before something that is no address. Hearsay is not looked at:
        // a client may send thousands of addresses, and the balancer adds one.
        let mut client = None;
        for entry in request.tokens("x-forwarded-for").rev().take(limits::FORWARDED_MAX) {
            let Some(address) = forwarded_address(entry) else { break };
            client = Some(address);
            if !self.settings.trust.contains(address.ip()) {
                break;
            }
        }
        if let Some(client) = client {
            self.connections.change(slot, |conn| conn.set_client(client));
        }
    }

    /// Answers a request that could not be understood, and closes.
    pub(in crate::server) fn refuse_head(&mut self, now: Now, slot: u32, error: HeadError) {
        self.refuse(now, slot, error.status(), &error.to_string());
    }

    /// Answers half a request whose time is over.
    pub(in crate::server) fn refuse_late(&mut self, now: Now, slot: u32) {
        self.refuse(now, slot, 408, "the request did not arrive in time");
    }

    /// Answers a request whose token could not be checked in time, since too many others were to be
    /// checked, and closes.
    pub(in crate::server) fn refuse_unchecked(&mut self, now: Now, slot: u32) {
        self.connections.stop_checking(slot);
        self.report_refusal(self.client(slot), Refusal::TokenChecks);
        let answer = Answer::plain(503).with(&[RETRY_AFTER]);
        self.respond_to_nothing(now, slot, answer);
    }

    fn refuse(&mut self, now: Now, slot: u32, status: u16, text: &str) {
        if self.connections.conn(slot).requester() == Requester::Probe {
            return self.remove(now, slot, CloseReason::ProxyMissing, false);
        }
        let answer = Answer::plain(status).saying(text.as_bytes());
        self.respond_to_nothing(now, slot, answer);
    }
}

/// An entry of `X-Forwarded-For`: an address, perhaps with a port (0 if there is none). An IPv6
/// address may stand in brackets without a port, too.
fn forwarded_address(entry: &[u8]) -> Option<SocketAddr> {
    let text = core::str::from_utf8(entry).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => SocketAddr::new(IpAddr::V6(address.parse().ok()?), 0),
        None => text
            .parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
            .ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

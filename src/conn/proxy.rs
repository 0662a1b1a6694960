//! The phase before everything else: the PROXY header, read exactly once.
//!
//! The phase ends in one of three ways: with a header that is believed, with bytes that are no
//! header where that is allowed, or with the connection's end. Nothing is ever said in it, since to
//! a balancer every byte from us would belong to a client.

use super::http::Http;
use super::{Conn, Cx, Listener, Phase, Requester, Step, Waiting};
use crate::limits;
use crate::metrics::Command;
use crate::reason::CloseReason;
use crate::settings::ProxyMode;
use crate::time::Instant;
use crate::wire::{Status, proxy};

/// The phase of a connection whose PROXY header is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxy {
    /// When the header must have come.
    pub(super) by: Instant,
    /// Whether a byte of the header has come.
    began: bool,
}

impl Proxy {
    pub(super) fn new(now: Instant) -> Proxy {
        Proxy { by: now.plus(limits::PROXY_LIMIT), began: false }
    }

    pub(super) fn receive_end(self, nothing_came: bool) -> Step<'static> {
        Step::End(if nothing_came { CloseReason::ProbeOnly } else { CloseReason::PeerGone })
    }

    pub(super) fn handle_timeout(self, nothing_came: bool) -> Step<'static> {
        Step::End(if nothing_came { CloseReason::Silent } else { CloseReason::ProxyTimeout })
    }

    pub(super) fn waits(self) -> Waiting {
        if self.began { Waiting::ForTheRest } else { Waiting::ForARequest }
    }
}

impl Conn {
    pub(super) fn receive_proxy<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        if let Phase::Proxy(proxy) = &mut self.phase {
            proxy.began = true;
        }
        if self.listener == Listener::Health {
            return self.pass_header(cx, bytes);
        }
        match proxy::parse(bytes) {
            Ok(Status::Partial) => (0, Step::NeedMore),
            Ok(Status::Complete(header)) => {
                // Anybody can write a header. To skip this one and take the peer for the client
                // would be guessing: a header from a stranger ends the connection.
                if !self.is_trusted() {
                    return (0, Step::End(CloseReason::ProxyUntrusted));
                }
                let command = match header.claim {
                    proxy::Claim::Proxied(addresses) => {
                        self.set_client(addresses.source);
                        Command::Proxy
                    }
                    proxy::Claim::Local => Command::Local,
                    proxy::Claim::Unknown => Command::Unknown,
                };
                cx.metrics.proxy_headers[header.version as usize][command as usize] += 1;
                self.enter(Phase::Http(Http::first(cx, Requester::Client)));
                (header.len, Step::Proxied { vpc_endpoint: header.vpc_endpoint })
            }
            Err(proxy::Error::NotProxy) => self.go_without_header(cx),
            Err(_) => (0, Step::End(CloseReason::ProxyInvalid)),
        }
    }

    /// Reads past a PROXY header on a health listener, where a header means nothing, whoever sends
    /// it. Only its end is looked for, so that nothing which it says can be believed, refused or
    /// written down.
    fn pass_header<'b>(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> (usize, Step<'b>) {
        match proxy::extent(bytes) {
            Ok(Status::Partial) => (0, Step::NeedMore),
            Ok(Status::Complete(length)) => {
                self.enter(Phase::Http(Http::first(cx, Requester::Health)));
                (length, Step::Continue)
            }
            Err(proxy::Error::NotProxy) => self.go_without_header(cx),
            Err(_) => (0, Step::End(CloseReason::ProxyInvalid)),
        }
    }

    fn go_without_header(&mut self, cx: &mut Cx<'_>) -> (usize, Step<'static>) {
        let Phase::Proxy(Proxy { by, .. }) = self.phase else { return (0, Step::Continue) };
        let request = match (self.listener, cx.settings.proxy) {
            (Listener::Health, _) => Http::first(cx, Requester::Health),
            // No header is read there.
            (Listener::Admin, _) => Http::first(cx, Requester::Admin),
            (Listener::Public, ProxyMode::Required) if self.is_trusted() => {
                // A CLB's HTTP health check comes without a header. The check has no more time than
                // the header would have had, and gets nothing but the probe's answer.
                Http::probe(by)
            }
            (Listener::Public, ProxyMode::Required) => {
                return (0, Step::End(CloseReason::ProxyMissing));
            }
            (Listener::Public, ProxyMode::Optional | ProxyMode::Off) => {
                Http::first(cx, Requester::Client)
            }
        };
        self.enter(Phase::Http(request));
        (0, Step::Continue)
    }
}

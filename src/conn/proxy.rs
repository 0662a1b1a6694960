//! The phase before everything else: the PROXY header, read exactly once.
//!
//! Three ways out: a header that is believed, bytes that are no header where that is allowed, or
//! the end. Nothing is ever said here, since to a balancer every byte from us would belong to a
//! client.

use super::{Conn, Cx, Listener, Phase, Requester, Step};
use crate::conn::http::Request;
use crate::reason::CloseReason;
use crate::settings::ProxyMode;
use crate::wire::{Status, proxy};

impl Conn {
    pub(super) fn receive_proxy<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        match proxy::parse(bytes) {
            Ok(Status::Partial) => (0, Step::NeedMore),
            Ok(Status::Complete(header)) => {
                // Believing one part of the room and not the other would be guessing: a header
                // from a stranger ends the connection. On a health listener it means nothing.
                if self.listener == Listener::Public && !self.is_trusted() {
                    return (0, Step::End(CloseReason::ProxyUntrusted));
                }
                self.believe(cx, &header);
                let requester = match self.listener {
                    Listener::Public => Requester::Client,
                    Listener::Health => Requester::Health,
                };
                self.enter(Phase::Request(Request::first(cx, requester)));
                (header.len, Step::Proxied { vpc_endpoint: header.vpc_endpoint })
            }
            Err(proxy::Error::NotProxy) => self.go_without_header(cx),
            Err(_) => (0, Step::End(CloseReason::ProxyInvalid)),
        }
    }

    fn go_without_header(&mut self, cx: &mut Cx<'_>) -> (usize, Step<'static>) {
        let Phase::Proxy { by } = self.phase else { return (0, Step::Continue) };
        let request = match (self.listener, cx.settings.proxy) {
            (Listener::Health, _) => Request::first(cx, Requester::Health),
            (Listener::Public, ProxyMode::Required) if self.is_trusted() => {
                // A CLB's HTTP health check comes without a header. It has no more time than the
                // header would have had, and gets nothing but the probe's answer.
                Request::probe(by)
            }
            (Listener::Public, ProxyMode::Required) => {
                return (0, Step::End(CloseReason::ProxyMissing));
            }
            (Listener::Public, ProxyMode::Optional | ProxyMode::Off) => {
                Request::first(cx, Requester::Client)
            }
        };
        self.enter(Phase::Request(request));
        (0, Step::Continue)
    }
}

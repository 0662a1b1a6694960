//! The admin listener: who may ask there, and what a request asks.
//!
//! ```text
//!   a page's?  ─► 403        /healthz, /readyz   ─► a probe's answer, to anybody else
//!                            / and its files     ─► the status page, to anybody else
//!   no token?  ─► 401        /publish/CHANNEL    ─► `backend`
//!                            /disconnect         ─► `disconnect`
//!                            /metrics, /status   ─► `watch`
//!                            anything else       ─► 404
//! ```
//!
//! Nothing public is served here, and nothing of this is served elsewhere. No answer lets a page of
//! another origin read it.
//!
//! The surprise: pages are kept out also where there is no token and only this machine can connect.
//! A browser runs on this machine, and takes any page's request to a loopback address.

use super::Probe;
use super::respond::{Answer, Field, NO_STORE};
use super::watch::View;
use crate::hub::is_channel_name;
use crate::server::disconnect::Whom;
use crate::server::{Denial, Server, Socket};
use crate::time::Now;
use crate::wire::http::{self, Method, Request};
use crate::wire::{admin, host, origin};

/// The methods of a path that only reads.
const ALLOW_READ: Field<'_> = super::files::ALLOW_READ;

/// The methods of a path that does something.
const ALLOW_POST: Field<'_> = ("Allow", "POST, OPTIONS");

/// How a request shows a token (RFC 6750 section 3).
const BEARER: Field<'_> = ("WWW-Authenticate", "Bearer");

/// Longest path that is looked up, decoded: that of the longest channel.
const PATH_BYTES_MAX: usize = "/publish/".len() + crate::limits::CHANNEL_NAME_BYTES_MAX;

impl<S: Socket> Server<S> {
    /// Answers a request to the admin listener, or has it answered later.
    pub(super) fn answer_admin(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        probe: Option<Probe>,
    ) {
        let is_shown = self.shows_token(request);
        if let Err(rule) = self.check_page(request, is_shown) {
            self.report_denial(slot, Denial::Rule(rule));
            let answer = Answer::plain(403).with(&[NO_STORE]).saying(rule.as_bytes());
            return self.respond(now, slot, request, answer);
        }
        let reads = matches!(request.method, Method::Get | Method::Head);
        let asks = request.method == Method::Options;
        // What HAProxy's check asks as it comes is answered without a token, as on other listeners.
        let is_check = asks && matches!(request.path, "*" | "/");
        match probe {
            Some(probe) if reads => return self.answer_probe(now, slot, request, probe),
            Some(_) if asks => return self.answer_options(now, slot, request, ALLOW_READ),
            Some(_) => {
                let answer = Answer::plain(405).with(&[ALLOW_READ]);
                return self.respond(now, slot, request, answer);
            }
            None if is_check => return self.answer_options(now, slot, request, ALLOW_READ),
            None => {}
        }
        if let Some(asset) = self.site.find_admin(request.path) {
            return self.answer_status_page(now, slot, request, asset);
        }
        if self.settings.admin_token.is_some() && !is_shown {
            let rule = "no token, or a wrong one, was shown to the admin listener";
            self.report_denial(slot, Denial::Rule(rule));
            let answer = Answer::plain(401).with(&[BEARER, NO_STORE]);
            return self.respond(
                now,
                slot,
                request,
                answer.saying(b"the token is missing or wrong"),
            );
        }
        self.answer_insider(now, slot, request);
    }

    /// Answers a request of somebody who may do everything.
    fn answer_insider(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let mut decoded = [0; PATH_BYTES_MAX];
        let is_publish = request.path.starts_with("/publish/");
        let path = http::percent_decode(request.path, &mut decoded);
        let channel = path.and_then(|path| path.strip_prefix("/publish/"));
        if let Some(view) = View::at(request) {
            return match request.method {
                Method::Get | Method::Head => self.answer_watcher(slot, request, view),
                Method::Options => self.answer_options(now, slot, request, ALLOW_READ),
                Method::Post | Method::Put | Method::Delete | Method::Trace | Method::Patch => {
                    self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_READ]));
                }
            };
        }
        match (request.method, request.path) {
            (Method::Options, "/disconnect") => {
                self.answer_options(now, slot, request, ALLOW_POST);
            }
            (Method::Options, _) if is_publish => {
                self.answer_options(now, slot, request, ALLOW_POST);
            }
            (Method::Post, "/disconnect") => self.answer_disconnect(now, slot, request),
            (Method::Post, _) if is_publish => match channel.filter(|name| is_channel_name(name)) {
                Some(channel) => self.take_in_draft(now, slot, request, channel),
                None => {
                    let answer = Answer::plain(400).saying(b"this is no name of a channel");
                    self.respond(now, slot, request, answer);
                }
            },
            (_, "/disconnect") => {
                self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_POST]));
            }
            (_, _) if is_publish => {
                self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_POST]));
            }
            (_, _) => self.respond(now, slot, request, Answer::plain(404)),
        }
    }

    /// Begins to close whoever the query of a request names; it is answered when all are closed.
    fn answer_disconnect(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let asked = admin::Whom::parse(request.query).map_err(|malformed| malformed.to_string());
        let is_name = |asked: &admin::Whom| {
            asked.channel.is_none_or(|channel| is_channel_name(channel.as_str()))
        };
        let asked = asked.and_then(|asked| {
            let named = Some(asked).filter(is_name);
            named.ok_or_else(|| admin::Malformed::Channel.to_string())
        });
        let asked = match asked {
            Ok(asked) => asked,
            Err(wrong) => {
                let answer = Answer::plain(400).saying(wrong.as_bytes());
                return self.respond(now, slot, request, answer);
            }
        };
        let Some(remembered) = self.remember_with(slot, request, [&[]; 3]) else {
            return self.refuse_for_now(now, slot, request);
        };
        let id = self.connections.id(slot);
        let whom = Whom::of(&asked, |text| self.subject(text));
        let number = self.disconnects.begin(id, whom);
        self.connections.change(slot, |conn| conn.await_end(number, remembered));
    }

    /// Whether the request shows the right token. Where there is none, no request does.
    fn shows_token(&self, request: &Request<'_, '_>) -> bool {
        let shown = request.field("authorization").and_then(admin::bearer);
        let token = self.settings.admin_token.as_ref();
        token.zip(shown).is_some_and(|(token, shown)| token.is(shown))
    }

    /// Whether a request may come from something else than a page of another origin.
    ///
    /// # Errors
    /// Which rule says that it does not.
    fn check_page(&self, request: &Request<'_, '_>, is_shown: bool) -> Result<(), &'static str> {
        let authority = request.authority.unwrap_or_default();
        let mut origins = request.fields("origin");
        match (origins.next(), origins.next()) {
            (None, _) => {}
            (Some(origin), None) if origin::is_own(origin, authority) => {}
            (Some(_), _) => return Err("pages of other origins may not ask the admin listener"),
        }
        let foreign = ["cross-site", "same-site"];
        if foreign.iter().any(|site| request.has_token("sec-fetch-site", site)) {
            return Err("pages of other sites may not ask the admin listener");
        }
        // The page of a foreign name that was made to lead here has the right origin for it. What
        // names no host is no browser's.
        let is_ours = host::is_local(authority) || host::is_named(authority, &self.settings.hosts);
        if request.authority.is_some() && !is_ours && !is_shown {
            return Err("the admin listener goes by an IP address, localhost or a name of --host");
        }
        Ok(())
    }
}

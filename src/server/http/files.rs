//! The files of the site and of the status page: what they are answered with, and what browsers may
//! do with them.
//!
//! Leaves to others: which files there are and what path leads to one (`site`), sending them
//! (`outbound`). A path of a request never reaches the file system.
//!
//! Pages of listed origins may load files as well, without credentials: a module of another host is
//! not run otherwise.
//!
//! The surprise: files are not compressed and have no ranges; what a browser has already is not
//! sent again (`If-None-Match`).

use super::cors::Lets;
use super::respond::{Answer, Content, Field};
use crate::server::{Denial, Server, Socket};
use crate::site::{AssetId, Found};
use crate::time::Now;
use crate::wire::http::{self, Method, Request};

pub(super) const ALLOW_READ: Field<'_> = ("Allow", "GET, HEAD, OPTIONS");
const NO_SNIFF: Field<'_> = ("X-Content-Type-Options", "nosniff");
const NO_CACHE: Field<'_> = ("Cache-Control", "no-cache");

/// What the built-in page may do: load itself and open sockets, nothing else. `'self'` alone does
/// not cover WebSocket in every browser.
const POLICY: Field<'_> = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What the status page may do: load itself and ask its own server.
const STATUS_POLICY: Field<'_> = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const NO_REFERRER: Field<'_> = ("Referrer-Policy", "no-referrer");

impl<S: Socket> Server<S> {
    /// Answers a request for what is not there. If it is for a WebSocket, the log says the `rule`.
    pub(super) fn answer_nothing(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        rule: &'static str,
    ) {
        if request.has_token("upgrade", "websocket") {
            self.report_denial(slot, Denial::Rule(rule));
        }
        self.respond(now, slot, request, Answer::plain(404));
    }

    /// Answers a request for `path`, which was decoded and lies below the base path.
    pub(super) fn answer_file(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        path: &str,
    ) {
        let found = match path {
            // The base path without its slash is a folder like others, if there is a page in it.
            "" => self.site.find("/").map(|_| Found::Folder),
            _ => self.site.find(path),
        };
        let asset = match found {
            None => {
                let rule = "no channel can have the name that its path has";
                return self.answer_nothing(now, slot, request, rule);
            }
            Some(_) if request.method == Method::Options => {
                return self.answer_options(now, slot, request, ALLOW_READ);
            }
            Some(_) if !matches!(request.method, Method::Get | Method::Head) => {
                return self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_READ]));
            }
            Some(Found::Folder) => {
                let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
                let location = format!("{}/{query}", request.path);
                let fields = [("Location", location.as_str())];
                let answer = Answer::plain(301).with(&fields).letting(Lets::Load);
                return self.respond(now, slot, request, answer);
            }
            Some(Found::Asset(asset)) => asset,
        };
        let is_page = self.site.asset(asset).content_type.starts_with("text/html");
        let policy: &[_] =
            if is_page && self.site.is_built_in() { &[POLICY, NO_REFERRER] } else { &[] };
        self.send_file(now, slot, request, asset, policy, Lets::Load);
    }

    /// Answers a request for a file of the status page. These tell nothing of the server, and are
    /// given to whoever may ask the admin listener at all, with or without a token.
    pub(super) fn answer_status_page(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        asset: AssetId,
    ) {
        match request.method {
            Method::Get | Method::Head => {
                let policy = [STATUS_POLICY, NO_REFERRER];
                self.send_file(now, slot, request, asset, &policy, Lets::Nothing);
            }
            Method::Options => self.answer_options(now, slot, request, ALLOW_READ),
            Method::Post | Method::Put | Method::Delete | Method::Trace | Method::Patch => {
                self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_READ]));
            }
        }
    }

    /// Answers a GET or HEAD with a file, or says that the one that the browser has is the newest.
    fn send_file(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        asset: AssetId,
        policy: &[Field<'static>],
        lets: Lets,
    ) {
        let etag = self.site.asset(asset).etag.clone();
        let content_type = self.site.asset(asset).content_type;
        let fields = [&[("ETag", etag.as_str()), NO_CACHE, NO_SNIFF], policy].concat();
        let is_fresh = http::etag_matches(request.fields("if-none-match"), &etag);
        let answer = if is_fresh {
            Answer::plain(304).of_type(None).saying(b"")
        } else {
            let content = Content::File(asset);
            Answer { content, ..Answer::plain(200).of_type(Some(content_type)) }
        };
        self.respond(now, slot, request, answer.with(&fields).letting(lets));
    }
}

//! Whose pages may send requests, and read the answers (RFC 6454; the Fetch Standard, "HTTP-CORS
//! protocol").
//!
//! Leaves to others: what an origin is and how it is compared (`wire/origin`), how a refusal is
//! answered.
//!
//! The surprise: the page's own origin is let in without being told so. Only pages of listed
//! origins need the fields of CORS.

use super::respond::Fields;
use crate::server::{Server, Socket};
use crate::wire::http::Request;
use crate::wire::origin::{self, Permission};

/// What the page of a listed origin is let do. The number is the origin's position in
/// `--allow-origin`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Lets {
    /// Read the answer.
    Read(u16),
    /// Read the answer, and send the request that the page's browser has asked about (a preflight).
    Send(u16),
}

impl Lets {
    /// Adds what tells the browser; `origins` are those of `--allow-origin`.
    pub(super) fn add_to<'a>(self, fields: &mut Fields<'a>, origins: &'a [Box<str>]) {
        let (Lets::Read(number) | Lets::Send(number)) = self;
        let origin = &*origins[usize::from(number)];
        fields.push("Access-Control-Allow-Origin", origin);
        if origin != "*" {
            fields.push("Access-Control-Allow-Credentials", "true");
            fields.push("Vary", "Origin");
        }
        match self {
            Lets::Read(_) => {}
            Lets::Send(_) => {
                fields.push("Access-Control-Allow-Methods", "GET, POST");
                fields.push("Access-Control-Allow-Headers", "Content-Type");
                fields.push("Access-Control-Max-Age", "600");
            }
        }
    }
}

impl<S: Socket> Server<S> {
    /// Whether a request may open a session, or speak to one: a page's `Origin` must be its own
    /// host or listed. Other programs send none, and neither do a page's images, scripts and links;
    /// a browser tells of these that the page is another site's (Fetch Metadata, section 2.3).
    /// Listed pages connect by scripts, which send an `Origin`.
    pub(in crate::server) fn allows_origin(&self, request: &Request<'_, '_>) -> bool {
        let mut origins = request.fields("origin");
        match (origins.next(), origins.next()) {
            (None, _) => !request.has_token("sec-fetch-site", "cross-site"),
            (Some(origin), None) => self.permission(request, origin).is_some(),
            (Some(_), Some(_)) => false,
        }
    }

    /// Which of `--allow-origin` let this request in, if it is not the page's own.
    pub(in crate::server) fn listed_origin(&self, request: &Request<'_, '_>) -> Option<u16> {
        match self.permission(request, request.field("origin")?)? {
            Permission::OwnPage => None,
            Permission::Listed(number) => u16::try_from(number).ok(),
        }
    }

    /// Why the page of `origin` may send this request, if it may.
    fn permission(&self, request: &Request<'_, '_>, origin: &[u8]) -> Option<Permission> {
        let authority = request.authority.unwrap_or_default();
        origin::permission(origin, authority, &self.settings.origins)
    }
}

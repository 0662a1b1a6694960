//! Whose pages may send requests, and read the answers (RFC 6454; the Fetch Standard, "HTTP-CORS
//! protocol").
//!
//! Leaves to others: what an origin is and how it is compared (`wire/origin`), how a refusal is
//! answered.
//!
//! The surprise: a page is told the origin that it has named, also where `--allow-origin` lists
//! `*`. Browsers take the star from no server to which they have sent cookies, and clients of
//! Socket.IO 2.x send them whenever they poll.

use crate::server::{Denial, Server, Socket};
use crate::wire::http::{Request, is_list_of_tokens};
use crate::wire::origin::{self, ORIGIN_BYTES_MAX, Origin};

/// What the page of a listed origin is let do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Lets {
    /// Nothing: the answer is not meant for other pages.
    Nothing,
    /// Read the answer to a request without credentials: a script that is a module is fetched so.
    Load,
    /// Read the answer.
    Read,
    /// Read the answer, and send the request that the page's browser has asked about (a preflight).
    Send,
}

/// What the browser of a page of a listed origin is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grant<'a> {
    /// The page's origin; `None` if that is not listed, and another request for the same might be
    /// told something else.
    origin: Option<&'a str>,
    /// Whether the page may read answers to requests with credentials.
    credentials: bool,
    /// What the page may send, if it was asked for that.
    sends: Option<Sends<'a>>,
}

/// What a page may send, as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sends<'a> {
    methods: &'a str,
    /// Names of fields; `None` if none were asked for, or nothing that is a list of such.
    fields: Option<&'a str>,
}

/// The most bytes of names of fields that a page may ask for.
const ASKED_BYTES_MAX: usize = 1024;

impl<'a> Grant<'a> {
    /// What the answer to `request` tells, if it comes from a page of one of the `listed` origins
    /// and that is let do something.
    pub(super) fn for_request(
        request: &'a Request<'a, 'a>,
        listed: &[Origin],
        lets: Lets,
    ) -> Option<Grant<'a>> {
        let sends = match lets {
            Lets::Nothing => return None,
            // Caches keep files, and one without a grant is of no use to the page of a listed
            // origin. So each is told to ask for every origin.
            Lets::Load if listed.is_empty() => return None,
            Lets::Load => {
                let origin = listed_origin(request, listed);
                return Some(Grant { origin, credentials: false, sends: None });
            }
            Lets::Read => None,
            Lets::Send => Some(Sends {
                methods: asked(request, "access-control-request-method").unwrap_or("GET, POST"),
                fields: asked(request, "access-control-request-headers"),
            }),
        };
        let origin = Some(listed_origin(request, listed)?);
        Some(Grant { origin, credentials: true, sends })
    }

    /// What the answer to a request that waited tells, if a page of `origin` may read it; no page
    /// may if that is empty.
    pub(super) fn to_read(origin: &'a [u8]) -> Option<Grant<'a>> {
        let origin = core::str::from_utf8(origin).ok().filter(|origin| !origin.is_empty())?;
        Some(Grant { origin: Some(origin), credentials: true, sends: None })
    }

    /// Hands the fields that tell the browser to `add`, each by its name and its value.
    pub(super) fn tell(self, mut add: impl FnMut(&'static str, &'a str)) {
        if let Some(origin) = self.origin {
            add("Access-Control-Allow-Origin", origin);
        }
        if self.credentials {
            add("Access-Control-Allow-Credentials", "true");
        }
        add("Vary", "Origin");
        if let Some(sends) = self.sends {
            add("Access-Control-Allow-Methods", sends.methods);
            if let Some(names) = sends.fields {
                add("Access-Control-Allow-Headers", names);
            }
            add("Access-Control-Max-Age", "600");
        }
    }
}

/// What the one field `name` asks for: a list of tokens, of at most [`ASKED_BYTES_MAX`] bytes.
fn asked<'b>(request: &Request<'b, '_>, name: &str) -> Option<&'b str> {
    let value = request.field(name).filter(|value| value.len() <= ASKED_BYTES_MAX)?;
    is_list_of_tokens(value).then(|| core::str::from_utf8(value).ok()).flatten()
}

/// The origin of the page that sent the request, if that is listed and can stand in a field: it is
/// visible ASCII, and no longer than any origin is.
fn listed_origin<'b>(request: &Request<'b, '_>, listed: &[Origin]) -> Option<&'b str> {
    let origin = request.field("origin").filter(|origin| origin.len() <= ORIGIN_BYTES_MAX)?;
    let is_text = !origin.is_empty() && origin.iter().all(u8::is_ascii_graphic);
    let is_listed = is_text && origin::is_listed(origin, listed);
    is_listed.then(|| core::str::from_utf8(origin).ok()).flatten()
}

impl<S: Socket> Server<S> {
    /// Whether a request may open a session, or speak to one: a page's `Origin` must be its own
    /// host or listed. Other programs send none, and neither do a page's images, scripts and links;
    /// a browser tells of these that the page is another site's (Fetch Metadata, section 2.3).
    /// Listed pages connect by scripts, which send an `Origin`.
    ///
    /// # Errors
    /// Why the request may not.
    pub(in crate::server) fn check_origin(&self, request: &Request<'_, '_>) -> Result<(), Denial> {
        let mut origins = request.fields("origin");
        match (origins.next(), origins.next()) {
            (None, _) if request.has_token("sec-fetch-site", "cross-site") => Err(Denial::NoOrigin),
            (None, _) => Ok(()),
            (Some(origin), None) => {
                let authority = request.authority.unwrap_or_default();
                let is_own = origin::is_own(origin, authority);
                let is_allowed = is_own || origin::is_listed(origin, &self.settings.origins);
                is_allowed.then_some(()).ok_or_else(|| Denial::origin(origin))
            }
            (Some(_), Some(_)) => Err(Denial::Origins),
        }
    }

    /// The origin of the page that sent the request, if that is listed and can be repeated in an
    /// answer, of at most [`ORIGIN_BYTES_MAX`] bytes.
    pub(in crate::server) fn listed_origin<'b>(
        &self,
        request: &Request<'b, '_>,
    ) -> Option<&'b str> {
        listed_origin(request, &self.settings.origins)
    }
}

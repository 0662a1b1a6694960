//! Tokens of those who want to come in: who is let in by which, and what everybody else is told.
//!
//! ```text
//!   request ──► where is a token ──► form, time, parties, key ──► signature ──► rights
//!                     │ none                │ a fault                 │ no tries left
//!                     ▼                     ▼                         ▼
//!               --anonymous              401, 403           waits, with all of its bytes
//! ```
//!
//! Leaves to others: what a token says (`wire/token`), keys and signatures (`keys`), what a session
//! does with its token (`session/namespaces`).
//!
//! The surprise: a request whose token needs a public key is never checked at once. It waits at the
//! end of a list, and is read anew when its turn has come, so that who floods the server with wrong
//! signatures keeps nobody waiting but others with such tokens.

use core::hash::{BuildHasher, Hasher};

use chacha20::rand_core::Rng;

use super::cors::Lets;
use super::respond::{Answer, Field};
use crate::conn::Conn;
use crate::hub::HashKey;
use crate::id::Subject;
use crate::keys::{Keys, Verdict};
use crate::limits;
use crate::pool::BufferId;
use crate::server::{Denial, Server, Socket};
use crate::settings::Anonymous;
use crate::time::{Duration, Now};
use crate::visa::Visa;
use crate::wire::http::Request;
use crate::wire::token::{
    Claims, Fault, Presented, RIGHTS_BYTES_MAX, Rights, Scratch, Token, in_auth,
};

/// What says to a client without a token how one is shown (RFC 6750, section 3).
const ASKS: [Field<'_>; 1] = [("WWW-Authenticate", "Bearer realm=\"elbow\"")];

/// What says to a client that its token is not taken.
const REFUSES: [Field<'_>; 1] =
    [("WWW-Authenticate", "Bearer realm=\"elbow\", error=\"invalid_token\"")];

/// What says to a client that its token is for something else.
const DENIES: [Field<'_>; 1] =
    [("WWW-Authenticate", "Bearer realm=\"elbow\", error=\"insufficient_scope\"")];

/// The keys, and the tries that are left in this turn.
#[derive(Debug)]
pub(in crate::server) struct Checks {
    keys: Keys,
    /// With what subjects are hashed; `None` as long as there were no keys.
    subjects: Option<HashKey>,
    /// Tries with public keys that are left to requests. None but while those are read that have
    /// waited.
    tries_left: u32,
    /// Tries with public keys that messages have taken in this turn.
    tries_of_messages: u32,
}

impl Checks {
    /// No keys: nothing is looked at.
    pub(in crate::server) fn new() -> Checks {
        Checks { keys: Keys::default(), subjects: None, tries_left: 0, tries_of_messages: 0 }
    }

    /// The hash of a subject.
    fn subject(&self, text: &str) -> Option<Subject> {
        let mut hasher = self.subjects?.build_hasher();
        hasher.write(text.as_bytes());
        // One hash stands for nobody, so it stands for another.
        Subject::from_bits(hasher.finish().max(1))
    }

    /// Begins to check the tokens of requests that have waited.
    pub(in crate::server) fn begin(&mut self) {
        self.tries_left = limits::CHECKS_PER_TURN.saturating_sub(self.tries_of_messages).max(1);
    }

    /// Whether there are tries left for requests that have waited.
    pub(in crate::server) fn are_left(&self) -> bool {
        self.tries_left > 0
    }

    /// The turn of those that have waited is over.
    pub(in crate::server) fn end(&mut self) {
        (self.tries_left, self.tries_of_messages) = (0, 0);
    }
}

/// What somebody may do in a channel, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::server) struct Admission {
    /// Whether what it says there is published.
    pub(in crate::server) may_speak: bool,
    /// Until when it may stay, and who it is.
    pub(in crate::server) visa: Visa,
    /// Who it is, for the log; empty if that is not known.
    pub(in crate::server) subject: Box<str>,
}

/// What a CONNECT says beside the name of the namespace, which may show a token.
#[derive(Clone, Copy, Default)]
pub(in crate::server) struct Said<'b> {
    /// Valid JSON; what clients of 4.x call `auth`, if it is an object.
    pub(in crate::server) payload: Option<&'b str>,
    /// What a client of 2.x has put behind the name.
    pub(in crate::server) query: Option<&'b str>,
}

impl<'b> Said<'b> {
    /// The token that it shows; `None` if there is none.
    ///
    /// # Errors
    /// The CONNECT shows several tokens, or what stands in the place of one can be none.
    fn token(self) -> Result<Option<Presented<'b>>, Fault> {
        let nothing = core::iter::empty;
        let in_query = Presented::find(nothing(), nothing(), self.query)?;
        match (in_auth(self.payload)?, in_query) {
            (Some(_), Some(_)) => Err(Fault::Several),
            (found, None) | (None, found) => Ok(found),
        }
    }
}

/// Why a request is not served now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Stop {
    /// The request is refused.
    Refused(Fault),
    /// No tries are left. The next is with the key of this number.
    Later(u8),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Refused(fault)
    }
}

impl<S: Socket> Server<S> {
    /// Checks tokens with these keys from now on. Who is in already stays. Without a key, nothing
    /// is a token.
    pub fn set_keys(&mut self, keys: Keys) {
        self.checks.keys = keys;
        // Those that wait were tried with some of the keys that are gone.
        let waiting: Vec<u32> = self.connections.iter_unchecked().collect();
        for slot in waiting {
            self.connections.change(slot, Conn::forget_tries);
        }
        if self.checks.subjects.is_none() {
            let mut key = [0; 16];
            self.random.fill_bytes(&mut key);
            self.checks.subjects = Some(HashKey(key));
        }
    }

    /// The subject by which those are known whose token has this text in `sub`. `None` as long as
    /// there were no keys, when nobody is.
    pub fn subject(&self, text: &str) -> Option<Subject> {
        self.checks.subject(text)
    }

    /// Whether a request may enter `channel`, by the token that it shows if it does. `upgrades`:
    /// what it offers as subprotocols may be a token.
    ///
    /// # Errors
    /// Why it may not, or not yet.
    pub(in crate::server) fn admit(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        upgrades: bool,
        channel: &str,
    ) -> Result<Admission, Stop> {
        let mut room = None;
        match self.check_request(now, slot, request, upgrades, &mut room)? {
            None => Ok(self.admit_anonymous()?),
            Some(claims) => Ok(self.admit_by(now, &claims, channel)?),
        }
    }

    /// What the token of a request lets the session do that begins with it: its visa, and a buffer
    /// with its rights, which is lent from here on. Nothing if it shows none.
    ///
    /// # Errors
    /// Why it may not begin a session, or not yet. A lack of memory is none.
    pub(in crate::server) fn admit_session(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        upgrades: bool,
    ) -> Result<Option<(Visa, Option<BufferId>)>, Stop> {
        let mut room = None;
        let Some(claims) = self.check_request(now, slot, request, upgrades, &mut room)? else {
            return Ok(None);
        };
        let visa = self.visa(now, &claims);
        let subject = claims.subject.map(|text| text.unescaped()).unwrap_or_default();
        let mut kept = Vec::with_capacity(1 + subject.len() + claims.rights.bytes());
        // A subject has 128 bytes at most.
        kept.push(subject.len() as u8);
        kept.extend_from_slice(subject.as_bytes());
        claims.rights.write(&mut kept)?;
        if kept.len() > RIGHTS_BYTES_MAX {
            return Err(Stop::Refused(Fault::Rights));
        }
        let buffer = self.pool.take(kept.len()).map(|mut buffer| {
            let is_kept = self.pool.append(&mut buffer, &kept);
            assert!(is_kept, "a buffer has the room that was asked for");
            buffer
        });
        Ok(Some((visa, buffer)))
    }

    /// Whether a session may enter `channel` by the token in its CONNECT. Where there is none, what
    /// the session has begun with counts. `visa` says how long the session may stay: behind that
    /// it enters nothing more, whatever its CONNECT shows.
    ///
    /// # Errors
    /// Why it may not.
    pub(in crate::server) fn admit_to_namespace(
        &mut self,
        now: Now,
        said: Said<'_>,
        (visa, pass): (Visa, Option<BufferId>),
        channel: &str,
    ) -> Result<Admission, Fault> {
        // Deadlines are served behind what was read, which is much when the machine has slept.
        if now.mono >= visa.until() {
            return Err(Fault::Expired);
        }
        let said = if self.checks.keys.is_empty() { Said::default() } else { said };
        if let Some(presented) = said.token()? {
            let mut scratch = Scratch::default();
            let token = self.read_token(now, presented, &mut scratch)?;
            // It is here already and cannot wait; but for what it costs, the others are not read.
            let mut tries_left = u32::MAX;
            let verdict = self.checks.keys.check(&token, 0, &mut tries_left);
            let tries = u32::MAX - tries_left;
            self.checks.tries_of_messages += tries;
            self.reading.budget.spend_units(tries * limits::CHECK_UNITS);
            return match verdict {
                Verdict::Good => self.admit_by(now, &token.claims, channel),
                Verdict::Bad(fault) => Err(fault),
                Verdict::Later(_) => Err(Fault::Signature),
            };
        }
        let Some(pass) = pass else { return self.admit_anonymous() };
        let kept = self.pool.bytes(pass);
        let (length, rest) = kept.split_first().ok_or(Fault::Rights)?;
        let (subject, rights) = rest.split_at_checked(usize::from(*length)).ok_or(Fault::Rights)?;
        let rights = Rights::read(rights).ok_or(Fault::Rights)?;
        if !rights.may_join(channel) {
            return Err(Fault::Channel);
        }
        let subject = String::from_utf8_lossy(subject).into();
        Ok(Admission { may_speak: rights.may_say(channel), visa, subject })
    }

    /// What those may who show no token.
    fn admit_anonymous(&self) -> Result<Admission, Fault> {
        let may_speak = match self.settings.anonymous {
            Anonymous::All => true,
            Anonymous::Join => false,
            Anonymous::None => return Err(Fault::Missing),
        };
        Ok(Admission { may_speak, visa: Visa::UNLIMITED, subject: Box::default() })
    }

    /// What a token that was checked lets its bearer do in `channel`.
    fn admit_by(&self, now: Now, claims: &Claims<'_>, channel: &str) -> Result<Admission, Fault> {
        if !claims.rights.may_join(channel) {
            return Err(Fault::Channel);
        }
        let subject = claims.subject.map(|text| text.unescaped()).unwrap_or_default();
        let may_speak = claims.rights.may_say(channel);
        Ok(Admission { may_speak, visa: self.visa(now, claims), subject: subject.into() })
    }

    fn visa(&self, now: Now, claims: &Claims<'_>) -> Visa {
        let left = Duration::from_secs(claims.expires_s.saturating_sub(now.unix_s));
        let subject = claims.subject.and_then(|text| self.checks.subject(&text.unescaped()));
        Visa::new(now.mono.plus(left), subject)
    }

    /// The claims of the token that a request shows, once they are known to be true; `None` if it
    /// shows none, or tokens are nothing here.
    fn check_request<'s>(
        &mut self,
        now: Now,
        slot: u32,
        request: &'s Request<'s, 's>,
        upgrades: bool,
        room: &'s mut Option<Scratch>,
    ) -> Result<Option<Claims<'s>>, Stop> {
        if self.checks.keys.is_empty() {
            return Ok(None);
        }
        let protocols = request.fields("sec-websocket-protocol").filter(|_| upgrades);
        let found = Presented::find(request.fields("authorization"), protocols, request.query)?;
        let Some(presented) = found else { return Ok(None) };
        let token = self.read_token(now, presented, room.insert(Scratch::default()))?;
        let first = self.connections.conn(slot).first_key();
        match self.checks.keys.check(&token, first, &mut self.checks.tries_left) {
            Verdict::Good => Ok(Some(token.claims)),
            Verdict::Bad(fault) => Err(Stop::Refused(fault)),
            Verdict::Later(next) => Err(Stop::Later(next)),
        }
    }

    /// Takes a token apart, and refuses it for whatever can be known without its signature.
    fn read_token<'s>(
        &self,
        now: Now,
        presented: Presented<'s>,
        scratch: &'s mut Scratch,
    ) -> Result<Token<'s>, Fault> {
        let token = Token::parse(presented, scratch)?;
        token.claims.check_time(now.unix_s)?;
        let parties = &self.settings.parties;
        token.claims.check_parties(parties.audience.as_deref(), parties.issuer.as_deref())?;
        self.checks.keys.know(&token)?;
        Ok(token)
    }

    /// Does not serve a request now: says so, or lets it wait.
    pub(in crate::server) fn stop(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        stop: Stop,
    ) {
        match stop {
            Stop::Later(first_key) => self.wait_for_check(now, slot, first_key),
            Stop::Refused(fault) => {
                self.report_fault(slot, fault);
                let answer = answer(fault).letting(Lets::Read);
                self.respond(now, slot, request, answer);
            }
        }
    }

    /// Lets the request whose head was just read wait for the check of its token.
    pub(in crate::server) fn wait_for_check(&mut self, now: Now, slot: u32, first_key: u8) {
        self.change(now, slot, |conn, cx| conn.queue(cx, first_key));
        self.connections.check_later(slot);
    }

    /// Counts a token that is not taken, and says in the log why.
    pub(in crate::server) fn report_fault(&mut self, slot: u32, fault: Fault) {
        self.metrics.count_token(fault);
        self.report_denial(slot, Denial::Token(fault));
    }
}

/// What is said to a client with such a token, or none. Which check has failed is the operator's
/// business.
fn answer(fault: Fault) -> Answer<'static> {
    match fault {
        Fault::Missing => Answer::plain(401).with(&ASKS).saying(b"a token is needed"),
        Fault::Channel => {
            Answer::plain(403).with(&DENIES).saying(b"the token is for other channels")
        }
        Fault::Several
        | Fault::TooLong
        | Fault::Malformed
        | Fault::Header
        | Fault::Critical
        | Fault::Algorithm
        | Fault::Claims
        | Fault::NoExpiry
        | Fault::Expired
        | Fault::NotYet
        | Fault::Audience
        | Fault::Issuer
        | Fault::Subject
        | Fault::Rights
        | Fault::UnknownKey
        | Fault::Signature => Answer::plain(401).with(&REFUSES).saying(b"the token is not taken"),
    }
}

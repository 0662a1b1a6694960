//! Tokens in the simulation: who shows which, what it must come to, and until when.
//!
//! In some seeds the server has keys. Whoever opens a WebSocket or an event stream, and every
//! person, is given a pass before it says its first words, from dice of its own; a person may show
//! another in each CONNECT ([`super::entry`]). The oracle holds what becomes of it against that:
//! who is let in had a right to, at that moment; who may only listen is heard with nothing, and
//! closed if it is a WebSocket; whoever stays leaves when the token has expired, no earlier and in
//! time. Who comes back shows another token. Where strangers attack, those of one kind may show
//! tokens in vain, without end.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use elbow::keys::{self, KeyKind, Keys};
use elbow::server::{Server, Socket};
use elbow::settings::Anonymous;
use elbow::wire::token::Fault;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;

use super::attack::{Attack, draw_size};
use super::climate::{Climate, Dice};

/// The second of 1970 at which the clock of the simulation begins.
pub(crate) const BEGIN_S: u64 = 1_700_000_000;

/// What an end may be rounded up to.
const TICK_MS: u64 = 256;

const SECRET: &[u8] = b"a secret of the simulation, for all seeds";

static SIGNER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_slice(&[7; 32]).expect("it is below the order"));

/// Gives a server its keys, if it has any in this seed.
pub(crate) fn give_keys<S: Socket>(climate: &Climate, server: &mut Server<S>) {
    if climate.tokens.is_some() {
        server.set_keys(keys());
    }
}

/// Keys for all seeds: a secret, and a public key.
fn keys() -> Keys {
    let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
        \x03\x01\x07\x03\x42\x00";
    let point = SIGNER.verifying_key().to_sec1_point(false);
    let text = BASE64.encode(&[head, point.as_bytes()].concat());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let mut keys = Keys::default();
    keys.add_file(KeyKind::Hs256, SECRET).expect("a secret");
    keys.add_file(KeyKind::Es256, pem.as_bytes()).expect("a public key");
    keys
}

/// Who shows what, if the server has keys. Rates per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    /// The seed of all that is drawn for them.
    pub(crate) seed: u64,
    /// Clients that show a token that is good, when it is made.
    bearers: u64,
    /// Of the others, those that show one that is not.
    wrong: u64,
    /// Of tokens, those that expire within seconds.
    short: u64,
    /// Of those with a token, those that may only listen.
    pub(crate) listeners: u64,
    /// Of tokens, those that are signed with a private key.
    public: u64,
    /// Of the CONNECTs of those who need not, those that bring a token.
    own: u64,
}

impl Tokens {
    /// Whether a CONNECT with a token in it fits into a packet.
    pub(crate) fn fit(climate: &Climate) -> bool {
        climate.settings.limits.message_bytes_max >= CONNECT_BYTES
    }
}

/// More than any CONNECT here has: a name, an id, an offset, and a token, or two of them.
const CONNECT_BYTES: u64 = 1000;

/// The phase of something in which the token expires that has let it in, or should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expiry {
    /// The request is on its way.
    Handshake,
    /// The request has come, and waits for the check of its token.
    Waiting,
    /// The request of somebody who comes back, and wants what it has missed, is on its way.
    Return,
    /// A WebSocket is open.
    WebSocket,
    /// An event stream is open.
    Stream,
    /// A Socket.IO session is in a channel.
    Session,
    /// A Socket.IO session is on its way from polls to a WebSocket.
    Upgrade,
    /// A CONNECT with the token in it is on its way.
    Connect,
    /// A CONNECT without one of its own is read when the stay of the session is over.
    Entered,
    /// Any of those, while the server takes leave.
    Drain,
}

impl Expiry {
    pub(crate) const ALL: [Expiry; 10] = [
        Expiry::Handshake,
        Expiry::Waiting,
        Expiry::Return,
        Expiry::WebSocket,
        Expiry::Stream,
        Expiry::Session,
        Expiry::Upgrade,
        Expiry::Connect,
        Expiry::Entered,
        Expiry::Drain,
    ];

    /// As the tally calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Expiry::Handshake => "expired_handshake",
            Expiry::Waiting => "expired_waiting",
            Expiry::Return => "expired_return",
            Expiry::WebSocket => "expired_websocket",
            Expiry::Stream => "expired_stream",
            Expiry::Session => "expired_session",
            Expiry::Upgrade => "expired_upgrade",
            Expiry::Connect => "expired_connect",
            Expiry::Entered => "expired_entered",
            Expiry::Drain => "expired_drain",
        }
    }
}

/// Decides whether the server of this seed has keys, and what those may who show no token. Drawn
/// apart, so that other seeds are what they would be without.
pub(crate) fn draw(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0074_6f6b_656e_7373);
    if !dice.chance(450) {
        return;
    }
    climate.settings.anonymous = dice.pick(&[Anonymous::All, Anonymous::None]);
    climate.tokens = Some(Tokens {
        seed: dice.next(),
        bearers: dice.pick(&[300, 800, 1000]),
        wrong: dice.pick(&[100, 500]),
        short: dice.pick(&[0, 300, 900]),
        listeners: dice.pick(&[0, 100, 300]),
        public: dice.pick(&[0, 300, 1000]),
        own: dice.pick(&[0, 300, 800]),
    });
    if let Some(mob) = climate.attacks.mobs.first_mut()
        && dice.chance(400)
    {
        let connections_max = climate.settings.limits.connections_max as u64;
        mob.attack = Attack::Tokens;
        mob.size = draw_size(&mut dice, mob.attack, connections_max);
    }
}

/// What a token must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// There is no token.
    Nothing,
    /// The token lets its bearer in, until it expires.
    Good,
    /// The token is for other channels.
    Elsewhere,
    /// The token is refused for this fault.
    Wrong(Fault),
}

/// What somebody shows.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) kind: Kind,
    /// From which second of 1970 on the token has expired.
    pub(crate) expires_s: u64,
    pub(crate) may_speak: bool,
    /// Whether a public key checks the token, so that it may have to wait.
    pub(crate) is_public: bool,
    /// How the token is shown: in the query, or in a field of the request.
    pub(crate) pair: String,
    pub(crate) field: String,
    /// The members of a CONNECT's object that show it.
    pub(crate) members: String,
}

impl Pass {
    /// What everybody has where there are no tokens.
    pub(crate) const NONE: Pass = Pass {
        kind: Kind::Nothing,
        expires_s: u64::MAX,
        may_speak: true,
        is_public: false,
        pair: String::new(),
        field: String::new(),
        members: String::new(),
    };

    /// The pass of a reader that asks for `channel`, by a WebSocket or an event stream.
    pub(crate) fn draw(
        dice: &mut Dice,
        tokens: &Tokens,
        now_ms: u64,
        (channel, is_stream): (&str, bool),
    ) -> Pass {
        let kind = if dice.chance(tokens.bearers) {
            if dice.chance(50) { Kind::Elsewhere } else { Kind::Good }
        } else if dice.chance(tokens.wrong) {
            Kind::Wrong(dice.pick(&WRONG))
        } else {
            Kind::Nothing
        };
        let may_speak = kind != Kind::Good || !dice.chance(tokens.listeners);
        let pass = Pass::of(dice, tokens, (kind, may_speak), now_ms, channel);
        if pass.pair.is_empty() || kind == Kind::Wrong(Fault::Several) {
            return pass;
        }
        let token = pass.pair.strip_prefix("token=").expect("it begins so");
        let field = match dice.below(3) {
            0 => format!("Authorization: Bearer {token}\r\n"),
            // Beside what else is offered, in a field of its own.
            1 if !is_stream => format!("Sec-WebSocket-Protocol: token.{token}\r\n"),
            _ => return pass,
        };
        Pass { pair: String::new(), field, ..pass }
    }

    /// The pass of a person, which is mostly let in wherever it asks. It may show nothing unless it
    /// `needs` a token.
    pub(crate) fn draw_of_person(
        dice: &mut Dice,
        tokens: &Tokens,
        now_ms: u64,
        (needs, may_speak): (bool, bool),
    ) -> Pass {
        let kind = match dice.below(20) {
            0 => Kind::Wrong(dice.pick(&WRONG)),
            1 => Kind::Elsewhere,
            _ => return Pass::draw_wide(dice, tokens, now_ms, (needs, may_speak)),
        };
        Pass::of(dice, tokens, (kind, may_speak), now_ms, "*")
    }

    /// The pass of somebody who is let in wherever it asks, if it shows anything.
    pub(crate) fn draw_wide(
        dice: &mut Dice,
        tokens: &Tokens,
        now_ms: u64,
        (needs, may_speak): (bool, bool),
    ) -> Pass {
        let is_bearer = needs || dice.chance(tokens.bearers);
        let kind = if is_bearer { Kind::Good } else { Kind::Nothing };
        Pass::of(dice, tokens, (kind, may_speak), now_ms, "*")
    }

    /// The token in a CONNECT for `channel`; `None` if there is none in it.
    pub(crate) fn draw_own(
        dice: &mut Dice,
        climate: &Climate,
        now_ms: u64,
        (channel, must_show, may_speak): (&str, bool, bool),
    ) -> Option<Pass> {
        let tokens = climate.tokens.as_ref().filter(|_| Tokens::fit(climate))?;
        if !must_show && !dice.chance(tokens.own) {
            return None;
        }
        let kind = match dice.below(10) {
            0 => Kind::Wrong(dice.pick(&WRONG)),
            1 => Kind::Elsewhere,
            _ => Kind::Good,
        };
        let pass = Pass::of(dice, tokens, (kind, may_speak), now_ms, channel);
        let token = pass.pair.strip_prefix("token=").expect("it begins so");
        let member = |token: &str| format!("\"token\":\"{token}\"");
        let members = match token.split_once('&') {
            Some((token, _)) => format!("{},{}", member(token), member("x")),
            None => member(token),
        };
        Some(Pass { members, ..pass })
    }

    fn of(
        dice: &mut Dice,
        tokens: &Tokens,
        (kind, may_speak): (Kind, bool),
        now_ms: u64,
        channel: &str,
    ) -> Pass {
        if kind == Kind::Nothing {
            return Pass::NONE;
        }
        let now_s = BEGIN_S + now_ms / 1000;
        let lifetime_s = if dice.chance(tokens.short) { dice.between(1, 8) } else { 1 << 32 };
        let (expires_s, begins_s) = match kind {
            Kind::Wrong(Fault::Expired) => (now_s - dice.below(3), 0),
            // Nothing in a run takes so long.
            Kind::Wrong(Fault::NotYet) => (now_s + (2 << 32), now_s + (1 << 32)),
            Kind::Nothing | Kind::Good | Kind::Elsewhere | Kind::Wrong(_) => {
                (now_s + lifetime_s, 0)
            }
        };
        let join = if kind == Kind::Elsewhere { "else*" } else { channel };
        let say = if may_speak { "" } else { r#","say":["else"]"# };
        let claims =
            format!(r#"{{"exp":{expires_s},"nbf":{begins_s},"join":["{join}"]{say},"sub":"x"}}"#);
        let is_public = dice.chance(tokens.public);
        let mut token = if is_public { by_private_key(&claims) } else { by_secret(&claims) };
        match kind {
            Kind::Wrong(Fault::Malformed) => token.insert(5, '.'),
            Kind::Wrong(Fault::Signature) => {
                let at = token.rfind('.').expect("there are dots") + 3;
                let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
                token.replace_range(at..=at, other);
            }
            Kind::Wrong(Fault::Algorithm) => token = headed(r#"{"alg":"none"}"#, &token),
            Kind::Wrong(Fault::UnknownKey) => {
                let alg = if is_public { "ES256" } else { "HS256" };
                token = headed(&format!(r#"{{"alg":"{alg}","kid":"nobody"}}"#), &token);
            }
            Kind::Nothing | Kind::Good | Kind::Elsewhere | Kind::Wrong(_) => {}
        }
        let twice = kind == Kind::Wrong(Fault::Several);
        let pair =
            if twice { format!("token={token}&%74oken=x") } else { format!("token={token}") };
        Pass { kind, expires_s, may_speak, is_public, pair, ..Pass::NONE }
    }

    /// Whether whoever shows this may be let in at a moment.
    pub(crate) fn lets_in(&self, climate: &Climate, now_ms: u64) -> bool {
        match self.kind {
            Kind::Nothing => climate.settings.anonymous != Anonymous::None,
            Kind::Good => self.expires_s > BEGIN_S + now_ms / 1000,
            Kind::Elsewhere | Kind::Wrong(_) => false,
        }
    }

    /// For what whoever shows this may be refused at a moment.
    pub(crate) fn fault(&self, climate: &Climate, now_ms: u64) -> Option<Fault> {
        if self.lets_in(climate, now_ms) {
            return None;
        }
        let has_expired = self.expires_s <= BEGIN_S + now_ms / 1000;
        Some(match self.kind {
            Kind::Nothing => Fault::Missing,
            // A token for elsewhere expires like any; and no signature is looked at after that.
            Kind::Good => Fault::Expired,
            Kind::Elsewhere if has_expired => Fault::Expired,
            Kind::Wrong(Fault::Signature | Fault::UnknownKey) if has_expired => Fault::Expired,
            Kind::Elsewhere => Fault::Channel,
            Kind::Wrong(fault) => fault,
        })
    }

    /// For what a namespace is refused that is asked for with no other token than this one, which
    /// the handshake has shown and which has not expired.
    pub(crate) fn fault_inside(&self, climate: &Climate) -> Option<Fault> {
        match self.kind {
            Kind::Nothing if climate.settings.anonymous == Anonymous::None => Some(Fault::Missing),
            Kind::Nothing | Kind::Good => None,
            Kind::Elsewhere => Some(Fault::Channel),
            Kind::Wrong(fault) => panic!("a session has begun with a token of {fault:?}"),
        }
    }

    /// Whether the token may expire before anybody has looked at it.
    pub(crate) fn may_expire(&self) -> bool {
        matches!(self.kind, Kind::Good | Kind::Elsewhere) && self.expires_s < BEGIN_S + (1 << 31)
    }

    /// When the stay of somebody ends that was let in by this at a moment.
    pub(crate) fn until_ms(&self, now_ms: u64) -> Option<u64> {
        let left_s = self.expires_s.checked_sub(BEGIN_S + now_ms / 1000)?;
        let is_short = self.kind == Kind::Good && self.may_expire();
        is_short.then(|| (now_ms + left_s * 1000).next_multiple_of(TICK_MS))
    }

    /// The first moment at which the stay of somebody may end that was let in by this, whenever.
    pub(crate) fn earliest_end_ms(&self) -> Option<u64> {
        self.may_expire().then(|| (self.expires_s - BEGIN_S) * 1000)
    }
}

/// What is wrong with tokens that are.
const WRONG: [Fault; 7] = [
    Fault::Malformed,
    Fault::Signature,
    Fault::Expired,
    Fault::NotYet,
    Fault::Algorithm,
    Fault::Several,
    Fault::UnknownKey,
];

/// Tokens that are signed by somebody else, with a secret and with a private key, and one that is
/// expired.
static FORGED: LazyLock<[(Fault, String); 3]> = LazyLock::new(|| {
    let claims = r#"{"exp":9000000000,"join":["*"]}"#;
    let other = |token: String| {
        let (signed, _) = token.rsplit_once('.').expect("there are dots");
        let bytes = if signed.len() % 2 == 0 { [1; 64] } else { [2; 64] };
        (signed.to_owned(), bytes)
    };
    let (secret, bytes) = other(by_secret(claims));
    let (public, more) = other(by_private_key(claims));
    [
        (Fault::Signature, format!("{secret}.{}", BASE64URL_NOPAD.encode(&bytes[..32]))),
        (Fault::Signature, format!("{public}.{}", BASE64URL_NOPAD.encode(&more))),
        (Fault::Expired, by_secret(r#"{"exp":1}"#)),
    ]
});

/// A token that is not taken, and for what.
pub(crate) fn in_vain(dice: &mut Dice) -> (Fault, &'static str) {
    match dice.below(5) {
        0 => (Fault::Malformed, "x"),
        1 => (Fault::Header, "e30.e30.AA"),
        other => {
            let (fault, token) = &FORGED[other as usize - 2];
            (*fault, token)
        }
    }
}

/// A token with another header in front of its claims and its signature.
fn headed(header: &str, token: &str) -> String {
    let (_, rest) = token.split_once('.').expect("there are dots");
    format!("{}.{rest}", BASE64URL_NOPAD.encode(header.as_bytes()))
}

fn by_secret(claims: &str) -> String {
    keys::token(SECRET, claims).expect("the secret is long enough")
}

fn by_private_key(claims: &str) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let text = format!("{}.{}", encode(r#"{"alg":"ES256"}"#), encode(claims));
    let signature: p256::ecdsa::Signature = SIGNER.sign(text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
}

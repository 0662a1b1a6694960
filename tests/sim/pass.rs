//! Tokens in the simulation: who shows which, what it must come to, and until when.
//!
//! In some seeds the server has keys. A plain WebSocket or a person is given a pass before it says
//! its first words, from dice of its own. The oracle holds what becomes of it against the pass: who
//! is let in had a right to, at that moment; who may only listen is heard with nothing, and closed;
//! whoever stays leaves when the token has expired, no earlier and in time. Who comes back shows
//! another token.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use elbow::keys::{self, KeyKind, Keys};
use elbow::server::{Server, Socket};
use elbow::settings::Anonymous;
use elbow::wire::token::Fault;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;

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
    /// Those that show a token that is good, when it is made.
    bearers: u64,
    /// Of the others, those that show one that is not.
    wrong: u64,
    /// Of tokens, those that expire within seconds.
    short: u64,
    /// Of plain WebSockets with a token, those that may only listen.
    listeners: u64,
    /// Of tokens, those that are signed with a private key.
    public: u64,
}

/// Decides whether the server of this seed has keys, and what those may who show no token. Drawn
/// apart, so that other seeds are what they would be without.
pub(crate) fn draw(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0074_6f6b_656e_7373);
    // Strangers who attack show nothing, nor do event streams and who comes back to a session.
    let others = climate.streams > 0 || climate.recovery.is_some();
    if !dice.chance(450) || others || !climate.attacks.mobs.is_empty() {
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
    });
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
    };

    /// The pass of a plain WebSocket that asks for `channel`.
    pub(crate) fn draw(dice: &mut Dice, tokens: &Tokens, now_ms: u64, channel: &str) -> Pass {
        let kind = if dice.chance(tokens.bearers) {
            if dice.chance(50) { Kind::Elsewhere } else { Kind::Good }
        } else if dice.chance(tokens.wrong) {
            Kind::Wrong(dice.pick(&[
                Fault::Malformed,
                Fault::Signature,
                Fault::Expired,
                Fault::NotYet,
                Fault::Algorithm,
                Fault::Several,
            ]))
        } else {
            Kind::Nothing
        };
        let may_speak = kind != Kind::Good || !dice.chance(tokens.listeners);
        let pass = Pass::of(dice, tokens, (kind, may_speak), now_ms, channel);
        if pass.pair.is_empty() || kind == Kind::Wrong(Fault::Several) {
            return pass;
        }
        match dice.below(3) {
            // The channel may be asked for with a subprotocol, of which there are enough besides.
            0 => {
                let token = pass.pair.strip_prefix("token=").expect("it begins so");
                let field = format!("Authorization: Bearer {token}\r\n");
                Pass { pair: String::new(), field, ..pass }
            }
            _ => pass,
        }
    }

    /// The pass of a person, which is let in wherever it asks.
    pub(crate) fn draw_wide(dice: &mut Dice, tokens: &Tokens, now_ms: u64, needs: bool) -> Pass {
        let is_bearer = needs || dice.chance(tokens.bearers);
        let kind = if is_bearer { Kind::Good } else { Kind::Nothing };
        Pass::of(dice, tokens, (kind, true), now_ms, "*")
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
            Kind::Wrong(Fault::Algorithm) => {
                let (_, rest) = token.split_once('.').expect("there are dots");
                let none = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
                token = format!("{none}.{rest}");
            }
            Kind::Nothing | Kind::Good | Kind::Elsewhere | Kind::Wrong(_) => {}
        }
        let twice = kind == Kind::Wrong(Fault::Several);
        let pair =
            if twice { format!("token={token}&%74oken=x") } else { format!("token={token}") };
        Pass { kind, expires_s, may_speak, is_public, pair, field: String::new() }
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
            Kind::Elsewhere | Kind::Wrong(Fault::Signature) if has_expired => Fault::Expired,
            Kind::Elsewhere => Fault::Channel,
            Kind::Wrong(fault) => fault,
        })
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
        (self.kind == Kind::Good && self.may_expire()).then(|| (self.expires_s - BEGIN_S) * 1000)
    }
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

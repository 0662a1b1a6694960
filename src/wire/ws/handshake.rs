//! The opening handshake (RFC 6455 section 4.2), on the fields of a request already taken apart.
//!
//! Deals with: whether a request is an upgrade, whether it may be answered with 101, which
//! subprotocol is chosen, and the accept key. Leaves to others: the HTTP head itself with its
//! `Host`, the `Origin` ([`crate::wire::origin`]), which path is for WebSocket, and writing the
//! answer. No extension is ever agreed on, so what is offered of them is not read: clients that
//! send something malformed there get the connection that they asked for.
//!
//! The surprise: a subprotocol is chosen although none but `elbow.v1` is interpreted. Browsers and
//! others give a connection up when a server chooses none of those that they offer; and since
//! payloads are passed on as they are, whatever their two ends agree on is what is spoken. Besides,
//! tungstenite's own check refuses what the RFC allows (`Upgrade: websocket, h2c`, two `Connection`
//! fields, a tab behind a comma). So the lists are read here, and only the answer to the key comes
//! from tungstenite.

use tungstenite::handshake::derive_accept_key;

/// The methods that a path knows which offers WebSocket and nothing else.
pub const ALLOW: (&str, &str) = ("Allow", "GET, OPTIONS");

/// The most subprotocols that a client may offer: finding doubles is quadratic in their number.
const PROTOCOLS_MAX: usize = 32;

/// The parts of a request that the handshake looks at.
#[derive(Clone, Copy, Debug)]
pub struct Offer<F> {
    /// Whether the method is GET.
    pub is_get: bool,
    /// Whether the version is 1.1 or a later 1.x.
    pub http11: bool,
    /// Whether a body is announced that is longer than 0 bytes.
    pub has_body: bool,
    /// The raw values of all fields of a name, in order; the function is given the name in lower
    /// case.
    pub fields: F,
}

/// A request that may be answered with 101.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade<'r> {
    /// The client's `Sec-WebSocket-Key`: base64 of 16 bytes, 24 characters.
    pub key: &'r str,
    /// The subprotocol for the `Sec-WebSocket-Protocol` of the answer, a token; `None` if that is
    /// to be left out, because nothing was offered that may be chosen.
    pub protocol: Option<&'r str>,
}

/// Why a request to upgrade is not answered with 101.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The method is not GET: 405.
    Method,
    /// The version is HTTP/1.0: 400.
    HttpVersion,
    /// A body is announced that is longer than 0 bytes: 400.
    Body,
    /// There is no `Sec-WebSocket-Key`, there are several, or it is not base64 of 16 bytes: 400.
    Key,
    /// `Sec-WebSocket-Version` is not 13: 426.
    Version,
    /// `Sec-WebSocket-Protocol` is malformed, or names one twice or more than 32: 400.
    Protocols,
    /// The request is no upgrade at all: 426. Never from [`check`]; for paths that offer nothing
    /// but WebSocket.
    NotAnUpgrade,
}

impl Refusal {
    /// The status of the answer: 400, 405 or 426.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::Method => 405,
            Refusal::Version | Refusal::NotAnUpgrade => 426,
            Refusal::HttpVersion | Refusal::Body | Refusal::Key | Refusal::Protocols => 400,
        }
    }

    /// The fields that the answer needs for its status. With 426 RFC 9110 asks for `Upgrade`
    /// (section 15.5.22), which needs a `Connection` beside it (section 7.8).
    pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Refusal::Method => &[ALLOW],
            Refusal::Version => &[
                ("Sec-WebSocket-Version", "13"),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
            ],
            Refusal::NotAnUpgrade => &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
            Refusal::HttpVersion | Refusal::Body | Refusal::Key | Refusal::Protocols => &[],
        }
    }

    /// The words for people.
    pub const fn message(self) -> &'static str {
        match self {
            Refusal::Method => "a WebSocket is opened with GET",
            Refusal::HttpVersion => "a WebSocket is opened with HTTP/1.1",
            Refusal::Body => "a WebSocket is opened without a body",
            Refusal::Key => "invalid Sec-WebSocket-Key",
            Refusal::Version => "Sec-WebSocket-Version must be 13",
            Refusal::Protocols => "invalid Sec-WebSocket-Protocol",
            Refusal::NotAnUpgrade => "WebSocket only",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

/// Checks a request. `None` if it does not ask for WebSocket and is to be served as plain HTTP.
/// Does not allocate.
///
/// # Errors
///
/// The first rule, in the order of [`Refusal`], that an upgrade request breaks.
pub fn check<'r, F, I>(offer: &Offer<F>) -> Result<Option<Upgrade<'r>>, Refusal>
where
    F: Fn(&'static str) -> I,
    I: Iterator<Item = &'r [u8]>,
{
    let fields = &offer.fields;
    if !names(fields("upgrade"), b"websocket") || !names(fields("connection"), b"upgrade") {
        return Ok(None);
    }
    if !offer.is_get {
        return Err(Refusal::Method);
    }
    if !offer.http11 {
        return Err(Refusal::HttpVersion);
    }
    if offer.has_body {
        return Err(Refusal::Body);
    }
    let key = only(fields("sec-websocket-key")).and_then(key_text).ok_or(Refusal::Key)?;
    if only(fields("sec-websocket-version")) != Some(b"13") {
        return Err(Refusal::Version);
    }
    let protocol = choose_protocol(fields("sec-websocket-protocol"))?;
    Ok(Some(Upgrade { key, protocol }))
}

/// The `Sec-WebSocket-Accept` that answers the key of an [`Upgrade`].
///
/// tungstenite's `create_response` would check the key once more, on a request made for it: 5,700
/// instructions of a handshake's 22,600, some 3 % of its time. Allocates.
pub fn accept(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// Whether the list that the fields make up together contains `token`, in any case.
fn names<'r>(mut fields: impl Iterator<Item = &'r [u8]>, token: &[u8]) -> bool {
    fields.any(|field| elements(field).any(|element| element.eq_ignore_ascii_case(token)))
}

/// The value of a field that must not be repeated; `None` if there is none, or more than one.
fn only<'r>(mut fields: impl Iterator<Item = &'r [u8]>) -> Option<&'r [u8]> {
    let value = fields.next()?;
    if fields.next().is_some() { None } else { Some(trim(value)) }
}

/// `value` as text if it is the base64 of exactly 16 bytes. The four bits that no byte needs must
/// be zero, as in tungstenite's own check.
fn key_text(value: &[u8]) -> Option<&str> {
    let digits = value.strip_suffix(b"==")?;
    let digit = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let valid = digits.len() == 22
        && digits.iter().all(digit)
        && matches!(digits[21], b'A' | b'Q' | b'g' | b'w');
    if valid { std::str::from_utf8(value).ok() } else { None }
}

/// How a subprotocol begins that is no protocol but a secret, which a page can put into no other
/// field. An answer that repeated the secret would tell it to whoever keeps answers.
const SECRET: &[u8] = b"token.";

/// The subprotocol in which each message comes with its position, and which elbow chooses wherever
/// it is offered.
pub const ELBOW_V1: &str = "elbow.v1";

/// The offer that is chosen: `elbow.v1`, or else the first that is no secret. The fields must list
/// tokens, none of them twice (section 4.1: names compare with their case).
fn choose_protocol<'r>(fields: impl Iterator<Item = &'r [u8]>) -> Result<Option<&'r str>, Refusal> {
    let mut fields = fields.peekable();
    if fields.peek().is_none() {
        return Ok(None);
    }
    let mut seen = [&[][..]; PROTOCOLS_MAX];
    let mut count = 0;
    for element in fields.flat_map(elements) {
        if count == PROTOCOLS_MAX || !is_token(element) || seen[..count].contains(&element) {
            return Err(Refusal::Protocols);
        }
        seen[count] = element;
        count += 1;
    }
    if seen[..count].contains(&ELBOW_V1.as_bytes()) {
        return Ok(Some(ELBOW_V1));
    }
    let first = seen[..count].iter().find(|name| !name.starts_with(SECRET));
    Ok(first.and_then(|name| core::str::from_utf8(name).ok()))
}

/// The elements of a comma-separated list without the whitespace around them, empty ones left out.
fn elements(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// The text without spaces and tabs at both ends: HTTP's optional whitespace, and nothing else.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ZWxib3ctdGVzdC1rZXktMQ==";

    /// The fields that a browser sends.
    const FIELDS: [(&str, &str); 4] = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ];

    fn checked<'r>(fields: &[(&str, &'r str)]) -> Result<Option<Upgrade<'r>>, Refusal> {
        check(&Offer {
            is_get: true,
            http11: true,
            has_body: false,
            fields: |name: &'static str| {
                let named = fields.iter().filter(move |field| field.0 == name);
                named.map(|field| field.1.as_bytes())
            },
        })
    }

    /// The browser's fields with those of `name` replaced by `values`.
    fn with<'r>(name: &'static str, values: &[&'r str]) -> Result<Option<Upgrade<'r>>, Refusal> {
        let others = FIELDS.into_iter().filter(|field| field.0 != name);
        let own = values.iter().map(|&value| (name, value));
        checked(&others.chain(own).collect::<Vec<_>>())
    }

    const GRANTED: Result<Option<Upgrade<'static>>, Refusal> = chosen(None);

    const fn chosen(protocol: Option<&str>) -> Result<Option<Upgrade<'_>>, Refusal> {
        Ok(Some(Upgrade { key: KEY, protocol }))
    }

    #[test]
    fn the_vectors_accept_keys() {
        for (key, answer) in [
            (KEY, "3RE3l0LamJWYH4D1LlkcbkQszcE="),
            ("okrcDgz1GgZKMUpCrzL3/g==", "GnJ5EuRl5TmW1JduGpAG/qkSVeI="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ] {
            assert_eq!(accept(key), answer, "{key}");
        }
    }

    #[test]
    fn a_browsers_request_is_an_upgrade() {
        assert_eq!(checked(&FIELDS), GRANTED);
    }

    #[test]
    fn token_lists_are_read_over_fields_cases_and_tabs() {
        assert_eq!(with("upgrade", &["h2c,\tWebSocket"]), GRANTED);
        assert_eq!(with("upgrade", &["websocket, h2c"]), GRANTED);
        assert_eq!(with("connection", &["keep-alive, Upgrade"]), GRANTED);
        assert_eq!(with("connection", &["keep-alive", ",,\tUPGRADE\t"]), GRANTED);
    }

    #[test]
    fn without_both_tokens_it_is_plain_http() {
        for name in ["upgrade", "connection"] {
            assert_eq!(with(name, &[]), Ok(None));
            assert_eq!(
                with(name, &["websockets", "xupgrade", "web socket", "upgrade;x"]),
                Ok(None)
            );
        }
    }

    #[test]
    fn method_version_and_body_are_refused_in_this_order() {
        let refusal = |is_get, http11, has_body| {
            check(&Offer {
                is_get,
                http11,
                has_body,
                fields: |name: &'static str| {
                    let named = FIELDS.into_iter().filter(move |field| field.0 == name);
                    named.map(|field| field.1.as_bytes())
                },
            })
            .err()
        };
        assert_eq!(refusal(false, false, true), Some(Refusal::Method));
        assert_eq!(refusal(true, false, true), Some(Refusal::HttpVersion));
        assert_eq!(refusal(true, true, true), Some(Refusal::Body));
        assert_eq!(refusal(true, true, false), None);
    }

    #[test]
    fn the_key_is_the_base64_of_16_bytes_and_stands_alone() {
        let name = "sec-websocket-key";
        assert_eq!(with(name, &["\t ZWxib3ctdGVzdC1rZXktMQ== "]), GRANTED);
        for values in [
            &[][..],
            &[KEY, KEY],
            &[""],
            &["ZWxib3ctdGVzdC1rZXktMQ="],
            &["ZWxib3ctdGVzdC1rZXktMTI="],
            &["ZWxib3ctdGVzdC1rZXktMTIz"],
            &["ZWxib3ctdGVzdC1rZXktMR=="],
            &["ZWxib3ctdGVzdC1rZXk-MQ=="],
            &["AAAAZWxib3ctdGVzdC1rZXktMQ=="],
            &["===="],
        ] {
            assert_eq!(with(name, values), Err(Refusal::Key), "{values:?}");
        }
    }

    #[test]
    fn every_version_but_13_is_refused() {
        let name = "sec-websocket-version";
        assert_eq!(with(name, &[" 13"]), GRANTED);
        for values in [&[][..], &["8"], &["14"], &["013"], &["13, 8"], &["13", "13"], &[""]] {
            assert_eq!(with(name, values), Err(Refusal::Version), "{values:?}");
        }
    }

    #[test]
    fn offered_protocols_are_distinct_tokens() {
        let name = "sec-websocket-protocol";
        assert_eq!(with(name, &["chat, Chat,, superchat", "v2.x"]), chosen(Some("chat")));
        for values in [&["chat, chat"][..], &["chat", "chat"], &["a b"], &["a/b"], &["\"a\""]] {
            assert_eq!(with(name, values), Err(Refusal::Protocols), "{values:?}");
        }
    }

    #[test]
    fn the_first_protocol_is_chosen_that_is_no_secret() {
        let name = "sec-websocket-protocol";
        for (values, protocol) in [
            (&["chat"][..], Some("chat")),
            (&[",\tchat ,x"], Some("chat")),
            (&["x", "chat"], Some("x")),
            (&["token.a", "token.b, chat"], Some("chat")),
            (&["chat, token.a"], Some("chat")),
            (&["token.a"], None),
            (&["token."], None),
            (&["token.a, token.b"], None),
            (&["token"], Some("token")),
            (&["tokens.a"], Some("tokens.a")),
            (&["Token.a"], Some("Token.a")),
            (&["elbow.v1"], Some("elbow.v1")),
            (&["chat, elbow.v1"], Some("elbow.v1")),
            (&["chat", "token.a, elbow.v1"], Some("elbow.v1")),
            (&["elbow.v2"], Some("elbow.v2")),
            (&["Elbow.v1"], Some("Elbow.v1")),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(with(name, values), chosen(protocol), "{values:?}");
        }
    }

    #[test]
    fn offered_protocols_are_32_at_most() {
        let offer =
            |count: u32| (0..count).map(|at| format!("p{at}")).collect::<Vec<_>>().join(",");
        assert!(with("sec-websocket-protocol", &[&offer(32)]).is_ok());
        let refused = with("sec-websocket-protocol", &[&offer(33)]).map(|_| ());
        assert_eq!(refused, Err(Refusal::Protocols));
    }

    #[test]
    fn extensions_are_not_read_whatever_they_are() {
        for value in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; permessage-deflate; server_max_window_bits=99",
            "x-webkit-       -frame",
            "a;b=\"c",
            ";",
            "",
        ] {
            let fields = ["x-good", value];
            assert_eq!(with("sec-websocket-extensions", &fields), GRANTED, "{value}");
        }
    }

    #[test]
    fn refusals_name_what_would_be_right() {
        assert_eq!(Refusal::Method.status(), 405);
        assert_eq!(Refusal::Method.fields(), [("Allow", "GET, OPTIONS")]);
        assert_eq!(Refusal::Version.status(), 426);
        assert_eq!(Refusal::Version.fields()[0], ("Sec-WebSocket-Version", "13"));
        assert_eq!(Refusal::NotAnUpgrade.status(), 426);
        assert_eq!(Refusal::Key.status(), 400);
    }
}

//! Socket.IO's codec from outside.
//!
//! Goal: a client's packets mean what the reference parser takes them for, whatever they are; what
//! the server says is what the reference would say.
//!
//! Method: tables of the vectors and of captured packets; `serde_json` as another reader and
//! writer of the same strings; random JSON with placeholders in it, against a count made while it
//! was drawn; and garbage, also deep, which must end in a packet or an error.

use elbow::wire::engine::Sid;
use elbow::wire::engine::Version::{self, V3, V4};
use elbow::wire::socketio::{
    ACK_ID_MAX, ANSWER_BYTES_MAX, ATTACHMENTS_MAX, Argument, BINARY_ARGS, DEPTH_MAX, Decoder,
    Error, Event, Name, OFFSET_EXTRA_BYTES, POSITION_EVENT, Packet, PacketType, acknowledgement,
    args_of_name, connected, decode, event, event_bytes, is_ours, position_event,
    position_event_bytes, recovery_of, refused, text_event, text_event_bytes,
};
use proptest::prelude::*;
use serde_json::Value;

fn packet<'b>(kind: PacketType, namespace: &'b str, payload: &'b str) -> Packet<'b> {
    let payload = Some(payload).filter(|payload| !payload.is_empty());
    Packet { kind, attachments: 0, namespace, query: None, id: None, payload }
}

fn event_of(text: &str) -> Event<'_> {
    decode(V4, text).expect("a packet").event().expect("an event")
}

fn name_of(text: &str) -> String {
    match event_of(text).name {
        Name::Text(name) => name.chars().collect(),
        Name::Number => panic!("{text} is called by a number"),
    }
}

/// The one argument of an event, if it is a string.
fn text_of(text: &str) -> String {
    let Some(Argument::Text(text)) = event_of(text).sole else { panic!("{text}: no sole text") };
    let mut out = b"before".to_vec();
    text.append_to(&mut out);
    assert!(out.len() - 6 <= text.bytes_max());
    String::from_utf8(out.split_off(6)).expect("text")
}

#[test]
fn packets_that_are_valid() {
    use PacketType::{
        Ack, BinaryAck, BinaryEvent, Connect, ConnectError, Disconnect, Event as Happened,
    };
    let placeholder = r#"["bin",{"_placeholder":true,"num":0}]"#;
    let cases = [
        (r#"2["a"]"#, packet(Happened, "/", r#"["a"]"#)),
        (r#"2/a,["b"]"#, packet(Happened, "/a", r#"["b"]"#)),
        (r#"2/a,12["b",1]"#, Packet { id: Some(12), ..packet(Happened, "/a", r#"["b",1]"#) }),
        (r#"20["a"]"#, Packet { id: Some(0), ..packet(Happened, "/", r#"["a"]"#) }),
        (r#"2007["a"]"#, Packet { id: Some(7), ..packet(Happened, "/", r#"["a"]"#) }),
        (r#"2[1]"#, packet(Happened, "/", "[1]")),
        (r#"2[-1.5e999,null]"#, packet(Happened, "/", "[-1.5e999,null]")),
        (r#"2[""]"#, packet(Happened, "/", r#"[""]"#)),
        ("2", packet(Happened, "/", "")),
        (r#"2/a["b"]"#, packet(Happened, r#"/a["b"]"#, "")),
        ("2 [ \"a\" , 1 ]\n", packet(Happened, "/", "[ \"a\" , 1 ]")),
        ("0", packet(Connect, "/", "")),
        ("0{}", packet(Connect, "/", "{}")),
        (r#"0{"token":"x"}"#, packet(Connect, "/", r#"{"token":"x"}"#)),
        (r#"0/priv,{"token":"no"}"#, packet(Connect, "/priv", r#"{"token":"no"}"#)),
        ("0/nope,", packet(Connect, "/nope", "")),
        ("0/nope", packet(Connect, "/nope", "")),
        ("0/,", packet(Connect, "/", "")),
        ("1", packet(Disconnect, "/", "")),
        ("1/priv,", packet(Disconnect, "/priv", "")),
        ("3[]", packet(Ack, "/", "[]")),
        ("31[]", Packet { id: Some(1), ..packet(Ack, "/", "[]") }),
        ("4{}", packet(ConnectError, "/", "{}")),
        (r#"4"x""#, packet(ConnectError, "/", r#""x""#)),
        (
            r#"51-["bin",{"_placeholder":true,"num":0}]"#,
            Packet { attachments: 1, ..packet(BinaryEvent, "/", placeholder) },
        ),
        (
            r#"51-/a,1["bin",{"_placeholder":true,"num":0}]"#,
            Packet { attachments: 1, id: Some(1), ..packet(BinaryEvent, "/a", placeholder) },
        ),
        (r#"510-["a"]"#, Packet { attachments: 10, ..packet(BinaryEvent, "/", r#"["a"]"#) }),
        (
            r#"61-1[{"_placeholder":true,"num":0}]"#,
            Packet {
                attachments: 1,
                id: Some(1),
                ..packet(BinaryAck, "/", r#"[{"_placeholder":true,"num":0}]"#)
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(decode(V4, text), Ok(expected), "{text}");
        assert_eq!(decode(V3, text), Ok(expected), "{text}");
    }
}

#[test]
fn packets_that_are_wrong() {
    use Error::{AckId, Attachments, Payload, TooManyAttachments, Type};
    let cases = [
        ("", Type),
        ("7", Type),
        ("x", Type),
        ("é", Type),
        ("-1", Type),
        ("0[]", Payload),
        (r#"0"x""#, Payload),
        ("0null", Payload),
        ("1{}", Payload),
        ("1,", Payload),
        ("1null", Payload),
        ("2[]", Payload),
        ("2{}", Payload),
        (r#"2"a""#, Payload),
        ("2[null]", Payload),
        ("2[true]", Payload),
        ("2[false]", Payload),
        (r#"2[["a"]]"#, Payload),
        (r#"2[{"a":1}]"#, Payload),
        (r#"2["a""#, Payload),
        (r#"2["a"]]"#, Payload),
        (r#"2["a"]["b"]"#, Payload),
        (r#"2["a"] x"#, Payload),
        (r#"2["a",]"#, Payload),
        (r#"2[,"a"]"#, Payload),
        (r#"2["a" "b"]"#, Payload),
        (r#"2["a":1]"#, Payload),
        (r#"2["a",01]"#, Payload),
        (r#"2["a",undefined]"#, Payload),
        (r#"2['a']"#, Payload),
        ("2[\"a\n\"]", Payload),
        (r#"2["\x"]"#, Payload),
        (r#"2["\u12"]"#, Payload),
        (r#"2["\"]"#, Payload),
        ("2\u{feff}[\"a\"]", Payload),
        ("31{}", Payload),
        (r#"3"a""#, Payload),
        ("4[]", Payload),
        (r#"5["a"]"#, Attachments),
        (r#"5x-["a"]"#, Attachments),
        (r#"5-["a"]"#, Attachments),
        (r#"50-["a"]"#, Attachments),
        (r#"5+1-["a"]"#, Attachments),
        (r#"51.0-["a"]"#, Attachments),
        ("51", Attachments),
        (r#"511-["a"]"#, TooManyAttachments),
        (r#"599999999999999999999999-["a"]"#, TooManyAttachments),
        (r#"51-["a",{"_placeholder":true,"num":7}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":1}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":-1}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":0.5}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":"0"}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":[0]}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true}]"#, Attachments),
        (r#"51-["a",{"_placeholder":true,"num":0,"num":1}]"#, Attachments),
        (r#"51-["a",{"b":[0,{"num":3,"_placeholder" : true}]}]"#, Attachments),
        (r#"51-["a",{"_\u0070laceholder":true,"num":1}]"#, Attachments),
        (r#"62-1[{"_placeholder":true,"num":2}]"#, Attachments),
        (r#"51-["connect"]"#, Payload),
        (r#"51-[{"_placeholder":true,"num":0}]"#, Payload),
        (r#"29007199254740992["a"]"#, AckId),
        (r#"299999999999999999999999999["a"]"#, AckId),
    ];
    for (text, expected) in cases {
        assert_eq!(decode(V4, text), Err(expected), "{text}");
    }
}

#[test]
fn reserved_names_are_refused_however_they_are_written() {
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        r"\u0063onnect",
    ] {
        assert_eq!(decode(V4, &format!(r#"2["{name}"]"#)), Err(Error::Payload), "{name}");
        assert_eq!(decode(V4, &format!(r#"2["{name}",1]"#)), Err(Error::Payload), "{name}");
    }
    for name in ["connection", "Connect", "connec", "connect ", "error"] {
        assert_eq!(name_of(&format!(r#"2["{name}"]"#)), name);
    }
}

#[test]
fn the_largest_ack_id_comes_back_as_it_was() {
    let text = format!(r#"2{ACK_ID_MAX}["a"]"#);
    let id = decode(V4, &text).expect("a packet").id.expect("an id");
    let mut out = Vec::new();
    acknowledgement("/", id, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), "39007199254740991[]");
}

#[test]
fn a_query_behind_a_namespace_is_dropped_in_protocol_4_only() {
    let namespace = |version, text| decode(version, text).expect("a packet").namespace;
    assert_eq!(namespace(V3, "0/priv?token=no,"), "/priv");
    assert_eq!(namespace(V3, "0/priv?token=no"), "/priv");
    assert_eq!(namespace(V3, "0/?a=b,"), "/");
    assert_eq!(namespace(V4, "0/priv?token=no,"), "/priv?token=no");
    let query = |version, text| decode(version, text).expect("a packet").query;
    assert_eq!(query(V3, "0/priv?token=no,"), Some("token=no"));
    assert_eq!(query(V3, "0/priv?token=a?b"), Some("token=a?b"));
    assert_eq!(query(V3, "0/?,"), Some(""));
    assert_eq!((query(V3, "0/priv,"), query(V3, "0")), (None, None));
    assert_eq!(query(V4, "0/priv?token=no,"), None);
}

#[test]
fn an_error_may_be_any_json_in_protocol_4_only() {
    assert_eq!(
        decode(V3, r#"4/priv,{"code":42}"#),
        Ok(packet(PacketType::ConnectError, "/priv", r#"{"code":42}"#))
    );
    assert_eq!(decode(V3, "4[1]"), Ok(packet(PacketType::ConnectError, "/", "[1]")));
    assert_eq!(
        decode(V4, "41"),
        Ok(Packet { id: Some(1), ..packet(PacketType::ConnectError, "/", "") })
    );
    assert_eq!(decode(V4, "4[1]"), Err(Error::Payload));
}

#[test]
fn events_tell_their_name_and_what_is_alone_behind_it() {
    assert_eq!(name_of(r#"2["chat message","x"]"#), "chat message");
    assert_eq!(name_of(r#"2["chat\u0020message"]"#), "chat message");
    let Name::Text(name) = event_of(r#"2["chat\u0020message"]"#).name else { panic!("a text") };
    assert!(name == *"chat message" && name != *"chat messages" && name.plain().is_none());
    assert_eq!(event_of("2[1]").name, Name::Number);
    assert_eq!(event_of("2[-1,2]").name, Name::Number);

    assert_eq!(text_of(r#"2["a","x"]"#), "x");
    assert_eq!(
        text_of(r#"2["a","é\n\"\\\/\b\f\r\t\u00e9\ud83d\ude00😀"]"#),
        "é\n\"\\/\u{8}\u{c}\r\té😀😀"
    );
    for none in [r#"2["a"]"#, r#"2["a","b","c"]"#, r#"2["a",{},1]"#, r#"2["a",[[]],"b"]"#] {
        assert_eq!(event_of(none).sole, None, "{none}");
    }
    for other in ["1", "true", "null", "{}", "[]", r#"["x"]"#, r#"{"x":"y","z":[{}]}"#] {
        let text = format!(r#"2["a",{other}]"#);
        assert_eq!(event_of(&text).sole, Some(Argument::Other), "{other}");
        assert_eq!(event_of(&text).args, &text[1..]);
    }
}

#[test]
fn a_sole_attachment_is_recognised() {
    let sole = |text| event_of(text).sole;
    assert_eq!(sole(r#"52-["a",{"_placeholder":true,"num":1}]"#), Some(Argument::Attachment(1)));
    assert_eq!(
        sole(r#"51-["a", { "num" : 0 , "_placeholder" : true , "x" : { "num" : 5 } } ]"#),
        Some(Argument::Attachment(0))
    );
    assert_eq!(sole(r#"51-["a",{"_placeholder":false,"num":0}]"#), Some(Argument::Other));
    assert_eq!(sole(r#"51-["a",{"x":{"_placeholder":true,"num":0}}]"#), Some(Argument::Other));
    assert_eq!(sole(r#"51-["a",["_placeholder",true,"num",0]]"#), Some(Argument::Other));
    assert_eq!(sole(r#"51-["a",{"_placeholder":true,"num":0},1]"#), None);
    // In a packet without attachments it is an object like any other.
    assert_eq!(sole(r#"2["a",{"_placeholder":true,"num":0}]"#), Some(Argument::Other));
}

#[test]
fn what_is_no_event_has_none() {
    for text in ["0{}", "1", "3[\"a\"]", r#"4"x""#, r#"61-["a"]"#, "2"] {
        assert_eq!(decode(V4, text).expect("a packet").event(), None, "{text}");
    }
}

#[test]
fn half_a_surrogate_pair_is_passed_on_and_shown_as_the_replacement_character() {
    let text = r#"2["a","x\ud83dy\ude00\ud83d"]"#;
    assert_eq!(event_of(text).args, &text[1..]);
    assert_eq!(text_of(text), "x\u{fffd}y\u{fffd}\u{fffd}");
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"2["a",{}1{}]"#, open.repeat(depth - 1), close.repeat(depth - 1))
    };
    for (open, close) in [("[", "]"), (r#"{"k":"#, "}")] {
        assert!(decode(V4, &nested(open, close, DEPTH_MAX)).is_ok());
        assert_eq!(decode(V4, &nested(open, close, DEPTH_MAX + 1)), Err(Error::Depth));
        assert_eq!(decode(V4, &nested(open, close, 1_000_000)), Err(Error::Depth));
        let binary = nested(open, close, DEPTH_MAX).replacen('2', "51-", 1);
        assert!(decode(V4, &binary).is_ok());
    }
    assert_eq!(decode(V4, &format!("2{}", "[".repeat(1_000_000))), Err(Error::Depth));
    assert_eq!(decode(V4, &format!("0{}", r#"{"":"#.repeat(1_000_000))), Err(Error::Depth));
    // Brackets in strings are none.
    assert!(decode(V4, &format!(r#"2["{}\"{}"]"#, "[".repeat(1000), "{".repeat(1000))).is_ok());
}

#[test]
fn attachments_come_at_once_and_all_of_them() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.binary(), Err(Error::AttachmentUnexpected));
    let text = r#"52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    assert_eq!(decoder.text(V4, text).map(|packet| packet.attachments), Ok(2));
    assert_eq!(decoder.binary(), Ok(false));
    assert_eq!(decoder.text(V4, r#"2["a"]"#), Err(Error::AttachmentOwed));
    assert_eq!(decoder.binary(), Ok(true));
    assert_eq!(decoder.binary(), Err(Error::AttachmentUnexpected));
    assert!(decoder.text(V4, r#"2["a"]"#).is_ok());
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("packets are text")
}

#[test]
fn the_server_says_what_the_reference_says() {
    let args = r#"["bin",{"_placeholder":true,"num":0}]"#;
    let sid = "oXtiPSfotnY9bIEqAAAA";
    let connected =
        |version, namespace| written(|out| connected(version, namespace, sid, None, out));
    let refused =
        |version, namespace| written(|out| refused(version, namespace, "Invalid namespace", out));
    let cases = [
        (connected(V4, "/"), r#"0{"sid":"oXtiPSfotnY9bIEqAAAA"}"#),
        (connected(V4, "/priv"), r#"0/priv,{"sid":"oXtiPSfotnY9bIEqAAAA"}"#),
        (connected(V3, "/"), "0"),
        (connected(V3, "/priv"), "0/priv,"),
        (refused(V4, "/nope"), r#"4/nope,{"message":"Invalid namespace"}"#),
        (refused(V4, "/"), r#"4{"message":"Invalid namespace"}"#),
        (refused(V3, "/nope"), r#"4/nope,"Invalid namespace""#),
        (written(|out| acknowledgement("/", 0, out)), "30[]"),
        (written(|out| acknowledgement("/news", 12, out)), "3/news,12[]"),
        (written(|out| event("/", 0, r#"["a",1]"#, None, out)), r#"2["a",1]"#),
        (written(|out| event("/news", 0, r#"["a"]"#, None, out)), r#"2/news,["a"]"#),
        (
            written(|out| event("/", 1, args, None, out)),
            r#"51-["bin",{"_placeholder":true,"num":0}]"#,
        ),
        (written(|out| event("/news", 10, r#"["bin"]"#, None, out)), r#"510-/news,["bin"]"#),
        (written(|out| event("/", 0, &args_of_name("hi"), None, out)), r#"2["hi"]"#),
        (
            written(|out| event("/news", 0, &args_of_name("é\"\n"), None, out)),
            r#"2/news,["é\"\n"]"#,
        ),
        (written(|out| text_event("/", "héllo €", None, out)), r#"2["chat message","héllo €"]"#),
        (
            written(|out| event("/", 1, BINARY_ARGS, None, out)),
            r#"51-["chat message",{"_placeholder":true,"num":0}]"#,
        ),
        (
            written(|out| event("/news", 1, BINARY_ARGS, None, out)),
            r#"51-/news,["chat message",{"_placeholder":true,"num":0}]"#,
        ),
    ];
    for (packet, expected) in cases {
        assert_eq!(packet, expected);
    }
}

#[test]
fn texts_are_escaped_as_javascript_does() {
    let text =
        "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1e}\u{1f} \"\\/'<\u{7f}\u{80}é\u{2028}\u{2029}\u{feff}😀";
    let expected = concat!(
        r#"2["chat message","\u0000\u0001\b\t\n\u000b\f\r\u001e\u001f \"\\/'<"#,
        "\u{7f}\u{80}é\u{2028}\u{2029}\u{feff}😀",
        r#""]"#
    );
    assert_eq!(written(|out| text_event("/", text, None, out)), expected);
}

/// JSON with placeholders in it: the text, and the largest number that one of them has, if any.
fn any_json() -> impl Strategy<Value = (String, Option<usize>)> {
    let leaf = prop_oneof![
        Just(("null".to_owned(), None)),
        any::<i32>().prop_map(|number| (number.to_string(), None)),
        any::<String>().prop_map(|text| (Value::from(text).to_string(), None)),
        (0_usize..12).prop_map(|number| {
            (format!(r#"{{"_placeholder":true,"num":{number}}}"#), Some(number))
        }),
        (0_usize..12).prop_map(|number| {
            (format!("{{ \"num\" : {number}, \"x\":[], \"_placeholder\":true }}"), Some(number))
        }),
        (0_usize..12).prop_map(|number| (format!(r#"{{"num":{number}}}"#), None)),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let members = prop::collection::vec((any::<String>(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| {
                let texts: Vec<&str> = items.iter().map(|(text, _)| &text[..]).collect();
                let largest = items.iter().filter_map(|(_, largest)| *largest).max();
                (format!("[{}]", texts.join(", ")), largest)
            }),
            members.prop_map(|members| {
                let texts: Vec<String> = members
                    .iter()
                    .map(|(key, (text, _))| format!("{}:{text}", Value::from(&key[..])))
                    .collect();
                let largest = members.iter().filter_map(|(_, (_, largest))| *largest).max();
                (format!("{{{}}}", texts.join(",")), largest)
            }),
        ]
    })
}

/// What is written, whose length was announced.
fn written_as(announced: usize, write: impl FnOnce(&mut Vec<u8>)) -> String {
    let packet = written(write);
    assert_eq!(packet.len(), announced, "{packet}");
    packet
}

fn event_with(namespace: &str, attachments: usize, args: &str, offset: &str) -> String {
    let announced = event_bytes(namespace, attachments, args, Some(offset));
    written_as(announced, |out| event(namespace, attachments, args, Some(offset), out))
}

fn text_event_with(namespace: &str, text: &str, offset: &str) -> String {
    let announced = text_event_bytes(namespace, text, Some(offset));
    written_as(announced, |out| text_event(namespace, text, Some(offset), out))
}

fn position_event_of(namespace: &str, offset: &str) -> String {
    let announced = position_event_bytes(namespace, offset);
    written_as(announced, |out| position_event(namespace, offset, out))
}

#[test]
fn with_recovery_every_event_ends_in_its_offset() {
    let offset = "k3f9.16";
    for (packet, expected) in [
        (event_with("/", 0, r#"["a"]"#, offset), r#"2["a","k3f9.16"]"#),
        (event_with("/news", 0, r#"["a",1]"#, offset), r#"2/news,["a",1,"k3f9.16"]"#),
        (event_with("/", 0, r#"["a",[]]"#, offset), r#"2["a",[],"k3f9.16"]"#),
        (event_with("/", 0, r#"["a","b]"]"#, offset), r#"2["a","b]","k3f9.16"]"#),
        (event_with("/", 0, "[ \"a\" , 1\t\n]", offset), "2[ \"a\" , 1\t\n,\"k3f9.16\"]"),
        (event_with("/", 0, "[1]", offset), r#"2[1,"k3f9.16"]"#),
        (event_with("/", 0, &args_of_name("hi"), offset), r#"2["hi","k3f9.16"]"#),
        (
            event_with("/", 1, r#"["e",{"_placeholder":true,"num":0}]"#, "1690000000000-0.0"),
            r#"51-["e",{"_placeholder":true,"num":0},"1690000000000-0.0"]"#,
        ),
        (
            event_with("/news", 1, BINARY_ARGS, offset),
            r#"51-/news,["chat message",{"_placeholder":true,"num":0},"k3f9.16"]"#,
        ),
        (text_event_with("/", "h\"i]", offset), r#"2["chat message","h\"i]","k3f9.16"]"#),
        (text_event_with("/news", "", "0.1"), r#"2/news,["chat message","","0.1"]"#),
        (position_event_of("/", offset), r#"2["elbow:position","k3f9.16"]"#),
        (position_event_of("/news", "a.0"), r#"2/news,["elbow:position","a.0"]"#),
    ] {
        assert_eq!(packet, expected);
        let args = decode(V4, &packet).expect("a packet").payload.expect("an array");
        let value: Value = serde_json::from_str(args).expect("JSON");
        assert!(value.as_array().is_some_and(|array| array.len() > 1), "{packet}");
    }
    let without = event_bytes("/", 0, r#"["a"]"#, None);
    assert_eq!(event_bytes("/", 0, r#"["a"]"#, Some("a.1")), without + OFFSET_EXTRA_BYTES + 3);
}

#[test]
fn a_session_that_can_be_recovered_is_told_its_private_id() {
    let (sid, pid) = ("oXtiPSfotnY9bIEqAAAA", "_-_-_-_-_-_-_-_-_-_-");
    let answer = |version, namespace, pid| {
        let packet = written(|out| connected(version, namespace, sid, pid, out));
        assert!(packet.len() <= ANSWER_BYTES_MAX + namespace.len());
        packet
    };
    assert_eq!(
        answer(V4, "/", Some(pid)),
        r#"0{"sid":"oXtiPSfotnY9bIEqAAAA","pid":"_-_-_-_-_-_-_-_-_-_-"}"#
    );
    assert_eq!(
        answer(V4, "/news", Some(pid)),
        r#"0/news,{"sid":"oXtiPSfotnY9bIEqAAAA","pid":"_-_-_-_-_-_-_-_-_-_-"}"#
    );
    assert_eq!(answer(V4, "/", None), r#"0{"sid":"oXtiPSfotnY9bIEqAAAA"}"#);
    assert_eq!(answer(V3, "/", Some(pid)), "0");
    assert_eq!(answer(V3, "/news", Some(pid)), "0/news,");
}

/// What a CONNECT with this payload asks to recover.
fn recovery(payload: &str) -> Option<(String, Option<String>)> {
    let packet = format!("0/news,{payload}");
    let read = recovery_of(decode(V4, &packet).expect("a packet").payload)?;
    Some((read.pid.as_str().to_owned(), read.offset.map(str::to_owned)))
}

/// A private id as the server gives it, and an offset.
const PID: &str = "oXtiPSfotnY9bIEqAA-_";
const OFFSET: &str = "k3f9.16";

#[test]
fn who_comes_back_says_whom_and_where() {
    let both = Some((PID.to_owned(), Some(OFFSET.to_owned())));
    let pid_alone = Some((PID.to_owned(), None));
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
    let long = "x".repeat(65);
    for (payload, expected) in [
        (r#"{"pid":"<P>","offset":"<O>"}"#, &both),
        (r#"{"pid":"<P>","offset":"<O>","token":"x"}"#, &both),
        (r#"{"offset":"<O>","pid":"<P>"}"#, &both),
        (" { \"pid\" : \"<P>\" ,\n\"offset\"\t:\"<O>\" } ", &both),
        (r#"{"a":{"b":[1,{"c":null}]},"pid":"<P>","d":[[],{}],"offset":"<O>","e":{}}"#, &both),
        (&format!(r#"{{"a":{deep},"pid":"<P>","b":{deep},"offset":"<O>"}}"#), &both),
        (r#"{"p\u0069d":"<P>","\u006fffset":"<O>"}"#, &both),
        // Members of members are somebody else's.
        (r#"{"pid":"<P>","offset":"<O>","a":{"pid":"x","offset":1}}"#, &both),
        (r#"{"pid":"<P>","offset":"<O>","a":[{"pid":1},"pid","offset"]}"#, &both),
        (r#"{"pid":"<P>","a":{"offset":"<O>"}}"#, &pid_alone),
        (r#"{"a":{"pid":"<P>","offset":"<O>"}}"#, &None),
        (r#"{"a":"pid","b":"<P>"}"#, &None),
        // Of two members of one name the last counts.
        (r#"{"pid":"x","pid":"<P>","offset":1,"offset":"<O>"}"#, &both),
        (r#"{"pid":"<P>","offset":"<O>","offset":null}"#, &pid_alone),
        (r#"{"pid":"<P>","offset":"<O>","offset":["<O>"]}"#, &pid_alone),
        (r#"{"pid":"<P>","offset":"<O>","pid":{"pid":"<P>"}}"#, &None),
        (r#"{"pid":"<P>","p\u0069d":1}"#, &None),
        // What has not the shape of ours.
        (r#"{"pid":"<P>"}"#, &pid_alone),
        (r#"{"pid":"<P>","offset":""}"#, &pid_alone),
        (r#"{"pid":"<P>","offset":"a b"}"#, &pid_alone),
        (r#"{"pid":"<P>","offset":"\u006b3f9.16"}"#, &pid_alone),
        (&format!(r#"{{"pid":"<P>","offset":"{long}"}}"#), &pid_alone),
        (r#"{"pid":"<P>","offset":16}"#, &pid_alone),
        (r#"{"pid":"<P>x","offset":"<O>"}"#, &None),
        (r#"{"pid":"","offset":"<O>"}"#, &None),
        (r#"{"pid":"oXtiPSfotnY9bIEqAA+/","offset":"<O>"}"#, &None),
        (r#"{"pid":"\u006fXtiPSfotnY9bIEqAA-_","offset":"<O>"}"#, &None),
        (r#"{"pid":"éXtiPSfotnY9bIEqAA-","offset":"<O>"}"#, &None),
        (r#"{"pid":true,"offset":"<O>"}"#, &None),
        (r#"{"pid":null}"#, &None),
        (r#"{"offset":"<O>"}"#, &None),
        (r#"{"PID":"<P>","Offset":"<O>"}"#, &None),
        (r#"{"":"<P>"}"#, &None),
        ("{}", &None),
    ] {
        let payload = payload.replace("<P>", PID).replace("<O>", OFFSET);
        assert_eq!(&recovery(&payload), expected, "{payload}");
    }
    assert_eq!(recovery_of(None), None);
    assert_eq!(recovery_of(decode(V4, "0").expect("a packet").payload), None);
    assert_eq!(Sid::parse(PID.as_bytes()).expect("an id").as_str(), PID);
}

#[test]
fn names_of_the_servers_own_events_are_known_however_they_are_written() {
    let is_ours = |name: &str| is_ours(&event_of(&format!("2[{name},1]")).name);
    for name in [
        r#""elbow:""#,
        r#""elbow:position""#,
        r#""elbow:\n""#,
        r#""\u0065lbow:x""#,
        r#""\u0065\u006C\u0062\u006f\u0077\u003a""#,
        r#""elbow\u003Aposition\ud800""#,
    ] {
        assert!(is_ours(name), "{name}");
    }
    for name in [
        r#""""#,
        r#""elbow""#,
        r#""elbo:w""#,
        r#""Elbow:position""#,
        r#"" elbow:position""#,
        r#""xelbow:position""#,
        r#""\\u0065lbow:x""#,
        r#""\ud800elbow:""#,
        r#""elbow：position""#,
        "1",
    ] {
        assert!(!is_ours(name), "{name}");
    }
    assert!(is_ours(&format!("\"{POSITION_EVENT}\"")));
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(V3), Just(V4)]
}

#[test]
fn the_length_of_a_text_is_known_before_it_is_written_whatever_it_is_made_of() {
    for character in (0..0x100).filter_map(char::from_u32) {
        for count in [0, 1, 31, 32, 33, 64, 300] {
            for text in [character.to_string().repeat(count), format!("{character}a").repeat(count)]
            {
                let mut packet = Vec::new();
                text_event("/", &text, None, &mut packet);
                assert_eq!(
                    packet.len(),
                    text_event_bytes("/", &text, None),
                    "{count} of {character:?}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn texts_survive_the_way_there_and_back(text in any::<String>(), news in any::<bool>()) {
        let namespace = if news { "/news" } else { "/" };
        let packet = written(|out| text_event(namespace, &text, None, out));
        prop_assert_eq!(packet.len(), text_event_bytes(namespace, &text, None));
        let args = decode(V4, &packet).expect("a packet").payload.expect("an array");
        let value: Value = serde_json::from_str(args).expect("JSON");
        prop_assert_eq!(value, serde_json::json!(["chat message", text]));
        prop_assert_eq!(text_of(&packet), text);
    }

    #[test]
    fn escapes_mean_what_serde_json_says(
        // No surrogates but in pairs: `serde_json` refuses others.
        text in concat!(
            r#"([ -!#-\[\]-~é😀]|\\["\\/bfnrt]|"#,
            r"\\u[0-9a-cA-C][0-9a-fA-F]{3}|\\ud83d\\ude00){0,20}",
        ),
    ) {
        let expected: String = serde_json::from_str(&format!("\"{text}\"")).expect("a string");
        prop_assert_eq!(text_of(&format!(r#"2["a","{text}"]"#)), expected);
    }

    #[test]
    fn events_are_passed_on_as_they_came(
        (value, _) in any_json(), attachments in 0..=ATTACHMENTS_MAX, news in any::<bool>(),
    ) {
        let namespace = if news { "/news" } else { "/" };
        let args = format!(r#"["a",{value}]"#);
        let packet = written(|out| event(namespace, attachments, &args, None, out));
        prop_assert_eq!(packet.len(), event_bytes(namespace, attachments, &args, None));
        if let Ok(read) = decode(V4, &packet) {
            prop_assert_eq!(read.payload, Some(&args[..]));
            prop_assert_eq!((read.namespace, read.attachments), (namespace, attachments));
        } else {
            prop_assert!(attachments > 0);
        }
    }

    #[test]
    fn an_offset_is_one_more_argument_and_changes_no_other(
        (value, _) in any_json(), offset in "[A-Za-z0-9.-]{1,64}", news in any::<bool>(),
    ) {
        let namespace = if news { "/news" } else { "/" };
        let args = format!(r#"["a",{value}]"#);
        let without = written(|out| event(namespace, 0, &args, None, out));
        let with = event_with(namespace, 0, &args, &offset);
        let array_of = |packet: &str| -> Vec<Box<serde_json::value::RawValue>> {
            let payload = decode(V4, packet).expect("a packet").payload.expect("an array");
            serde_json::from_str(payload).expect("an array")
        };
        let texts = |packet: &str| -> Vec<String> {
            array_of(packet).into_iter().map(|value| value.get().to_owned()).collect()
        };
        let mut expected = texts(&without);
        expected.push(format!("\"{offset}\""));
        prop_assert_eq!(texts(&with), expected);
    }

    #[test]
    fn what_a_client_wants_back_is_what_another_reader_finds(
        (value, _) in any_json(),
        pid in prop::sample::select(vec![r#""oXtiPSfotnY9bIEqAA-_""#, "1", "[]", r#""x""#]),
        offset in prop::sample::select(vec![r#""k3f9.16""#, "null", r#"{"offset":"a"}"#]),
        order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let members = [
            format!(r#""pid":{pid}"#),
            format!(r#""offset":{offset}"#),
            format!(r#""a":{value}"#),
            format!(r#""pids":{pid}"#),
            format!(r#""off":{{"pid":{pid},"offset":{offset}}}"#),
        ];
        let members: Vec<&str> = order.iter().map(|&n| &members[n][..]).collect();
        let payload = format!("{{{}}}", members.join(","));
        let text = |value: &str| serde_json::from_str::<String>(value).ok();
        let expected = text(pid).filter(|pid| Sid::parse(pid.as_bytes()).is_some());
        prop_assert_eq!(recovery(&payload), expected.map(|pid| (pid, text(offset))));
    }

    #[test]
    fn placeholders_are_found_wherever_they_are(
        (value, largest) in any_json(), attachments in 1..=ATTACHMENTS_MAX,
    ) {
        let packet = format!(r#"5{attachments}-["a",{value}]"#);
        let expected = match largest {
            Some(largest) if largest >= attachments => Err(Error::Attachments),
            Some(_) | None => Ok(attachments),
        };
        prop_assert_eq!(decode(V4, &packet).map(|packet| packet.attachments), expected);
    }

    #[test]
    fn a_packet_is_accepted_only_if_its_payload_is_json(
        version in versions(), text in r#"[0-6](1-)?(/a,)?[0-9]{0,2}[\[\]{}",:\\ a1etrunl-]{0,20}"#,
    ) {
        if let Ok(packet) = decode(version, &text)
            && let Some(payload) = packet.payload
        {
            prop_assert!(serde_json::from_str::<Value>(payload).is_ok(), "{}", payload);
        }
    }

    #[test]
    fn what_is_json_is_what_serde_json_says(
        (value, _) in any_json(),
        scraps in concat!(
            r#"([\[\]{}:, \t\n]|-|[0-9]{1,3}|\.|[eE]|true|nul?l|fals|"#,
            r#""(a|\\[n"u]|00e|\x1f)*"){0,12}"#,
        ),
        at in any::<prop::sample::Index>(), instead in any::<char>(),
    ) {
        let at = at.index(value.chars().count().max(1));
        let changed = |(n, c)| if n == at { instead } else { c };
        let mutilated: String = value.chars().enumerate().map(changed).collect();
        for text in [value, mutilated, scraps] {
            let text = format!("[{text}]");
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(decode(V4, &format!("30{text}")).is_ok(), theirs, "{}", text);
        }
    }

    #[test]
    fn garbage_does_no_harm(version in versions(), text in any::<String>(), kind in 0..7) {
        for text in [text.clone(), format!("{kind}{text}"), format!("5{kind}-[\"a\",{text}]")] {
            if let Ok(packet) = decode(version, &text) {
                prop_assert!(packet.namespace.starts_with('/'));
                prop_assert_eq!(packet.event().is_some(), packet.payload.is_some() && matches!(
                    packet.kind, PacketType::Event | PacketType::BinaryEvent));
            }
        }
    }

    #[test]
    fn mutilated_packets_do_no_harm(
        version in versions(), (value, _) in any_json(), at in any::<prop::sample::Index>(),
        instead in any::<char>(),
    ) {
        let packet = format!(r#"53-/a,7["a",{value}]"#);
        let at = at.index(packet.chars().count());
        let mutilated: String =
            packet.chars().enumerate().map(|(n, c)| if n == at { instead } else { c }).collect();
        if let Ok(packet) = decode(version, &mutilated) {
            prop_assert!(packet.attachments <= ATTACHMENTS_MAX);
        }
        let cut: String = packet.chars().take(at).collect();
        prop_assert!(decode(version, &cut).is_err() || at <= 7);
    }
}

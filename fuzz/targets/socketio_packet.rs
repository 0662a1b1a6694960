//! Socket.IO packets, protocols 4 and 5: what a client says, and the same said by the server.
//!
//! Finds: a panic, an event that is another one once it was passed on, a text that changes when it
//! is quoted again, a length that was announced wrong.
#![no_main]

use elbow::wire::engine::Version;
use elbow::wire::socketio::{
    Argument, Event, Name, Packet, PacketType, acknowledgement, decode, event, event_bytes,
    is_ours, text_event, text_event_bytes,
};
use elbow::work;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for version in [Version::V3, Version::V4] {
        work::take();
        let packet = decode(version, text);
        let event = packet.as_ref().ok().and_then(Packet::event);
        work::take().assert_linear(text.len(), 8);
        let Ok(packet) = packet else { continue };
        if let Some(id) = packet.id {
            answer(version, packet.namespace, id);
        }
        if let Some(event) = event {
            pass_on(version, &packet, &event);
        }
    }
});

/// The answer that an event asks for names it.
fn answer(version: Version, namespace: &str, id: u64) {
    let mut out = Vec::new();
    acknowledgement(namespace, id, &mut out);
    let packet = decode(version, text_of(&out)).expect("the server's packets are right");
    assert_eq!((packet.kind, packet.namespace), (PacketType::Ack, namespace));
    assert_eq!((packet.id, packet.payload), (Some(id), Some("[]")));
}

/// The event as others get it is the same but for the id, and for the query of its namespace, which
/// is its sender's own: a token may stand in it.
fn pass_on(version: Version, packet: &Packet<'_>, happened: &Event<'_>) {
    let mut out = Vec::new();
    event(packet.namespace, packet.attachments, happened.args, None, &mut out);
    assert_eq!(out.len(), event_bytes(packet.namespace, packet.attachments, happened.args, None));
    let again = decode(version, text_of(&out)).expect("the server's packets are right");
    assert_eq!(again, Packet { id: None, query: None, ..*packet });
    assert_eq!(again.event().as_ref(), Some(happened));
    pass_on_with_offset(version, packet, happened);
    if let Name::Text(name) = happened.name {
        let characters = name.chars().count();
        assert!(characters <= name.bytes_max());
        let begins = name.chars().collect::<String>().starts_with("elbow:");
        assert_eq!(is_ours(&happened.name), begins);
    }
    if let Some(Argument::Attachment(number)) = happened.sole {
        assert!(number < packet.attachments);
    }
    if let Some(Argument::Text(said)) = happened.sole {
        let mut plain = Vec::new();
        said.append_to(&mut plain);
        assert!(plain.len() <= said.bytes_max());
        assert!(said.plain().is_none_or(|text| text.as_bytes() == plain));
        quote(version, packet.namespace, text_of(&plain));
    }
}

/// The event as others get it who may come back has one more argument.
fn pass_on_with_offset(version: Version, packet: &Packet<'_>, happened: &Event<'_>) {
    let (offset, mut out) = (Some("k3f9.16"), Vec::new());
    let Packet { namespace, attachments, .. } = *packet;
    event(namespace, attachments, happened.args, offset, &mut out);
    assert_eq!(out.len(), event_bytes(namespace, attachments, happened.args, offset));
    let again = decode(version, text_of(&out)).expect("the server's packets are right");
    let args = happened.args.strip_suffix(']').expect("an array");
    assert_eq!(again.payload, Some(&format!("{args},\"k3f9.16\"]")[..]));
    assert_eq!((again.namespace, again.attachments), (namespace, attachments));
    assert_eq!(again.event().map(|event| event.name), Some(happened.name));
}

/// A plain client's text comes out of its event as it went in.
fn quote(version: Version, namespace: &str, text: &str) {
    let mut out = Vec::new();
    text_event(namespace, text, None, &mut out);
    assert_eq!(out.len(), text_event_bytes(namespace, text, None));
    let packet = decode(version, text_of(&out)).expect("the server's packets are right");
    let Some(Event { sole: Some(Argument::Text(quoted)), .. }) = packet.event() else {
        panic!("{:?} has no text", text_of(&out));
    };
    assert!(quoted.chars().eq(text.chars()));
}

fn text_of(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the server's packets are UTF-8")
}

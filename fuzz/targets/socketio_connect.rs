//! CONNECT of a Socket.IO client that comes back: which session it had, and where it goes on.
//!
//! The input is the packet's payload. Finds: a panic, a member that another reader of the same
//! object does not find, bytes that are looked at often.
#![no_main]

use elbow::position::is_position_text;
use elbow::wire::engine::{Sid, Version};
use elbow::wire::socketio::{decode, recovery_of};
use elbow::work;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(payload) = str::from_utf8(bytes) else { return };
    // Whatever it is given, it ends.
    let _ = recovery_of(Some(payload));
    let packet = format!("0{payload}");
    let Ok(packet) = decode(Version::V4, &packet) else { return };
    work::take();
    let recovery = recovery_of(packet.payload);
    work::take().assert_linear(payload.len(), 1);
    let Some(payload) = packet.payload else { return assert_eq!(recovery, None) };
    // It refuses numbers and halves of surrogate pairs that JavaScript accepts.
    let Ok(object) = serde_json::from_str::<Value>(payload) else { return };
    let text = |name| object.get(name).and_then(Value::as_str);
    let pid = text("pid").and_then(|pid| Sid::parse(pid.as_bytes()));
    let offset = text("offset").filter(|offset| is_position_text(offset.as_bytes()));
    match recovery {
        Some(recovery) => {
            assert_eq!(Some(recovery.pid), pid);
            assert!(recovery.offset == offset || payload.contains('\\'));
            assert!(recovery.offset.is_none() || recovery.offset == offset);
        }
        None => assert!(pid.is_none() || payload.contains('\\')),
    }
});

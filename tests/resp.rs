//! Replies of Redis against another decoder, a crate's: the two understand each other, and bytes
//! that have been tampered with mean to ours what they mean to it, or nothing.

use elbow::wire::Status;
use elbow::wire::resp::{DEPTH_MAX, Decoder, Token, request};
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::OwnedFrame;

/// One reply, put together from our tokens; `None` if the bytes do not hold a whole one. Returns
/// also how many bytes it took.
fn ours(bytes: &[u8]) -> Option<(OwnedFrame, usize)> {
    let mut decoder = Decoder::new(u64::MAX);
    let mut at = 0;
    // Arrays that are open, each with how many elements it has.
    let mut open: Vec<(u32, Vec<OwnedFrame>)> = Vec::new();
    loop {
        let (used, status) = decoder.next(&bytes[at..]);
        let Ok(Status::Complete(item)) = status else { return None };
        at += used;
        let owned = |bytes: &[u8]| bytes.to_vec();
        let mut frame = match item.token {
            Token::Array(elements @ 1..) => {
                open.push((elements, Vec::new()));
                assert!(!item.is_last && item.depth + 1 == open.len());
                continue;
            }
            Token::Array(_) => OwnedFrame::Array(Vec::new()),
            Token::Simple(bytes) => OwnedFrame::SimpleString(owned(bytes)),
            // The crate takes an error for text.
            Token::Error(bytes) => OwnedFrame::Error(String::from_utf8(bytes.to_vec()).ok()?),
            Token::Integer(number) => OwnedFrame::Integer(number),
            Token::Bulk(bytes) => OwnedFrame::BulkString(owned(bytes)),
            Token::TooLarge(_) => panic!("nothing is too large"),
            Token::Null => OwnedFrame::Null,
        };
        assert_eq!(item.depth, open.len());
        // An array that is whole is an element of the one around it.
        loop {
            let Some((elements, frames)) = open.last_mut() else {
                assert!(item.is_last);
                return Some((frame, at));
            };
            frames.push(frame);
            if frames.len() < *elements as usize {
                break;
            }
            frame = OwnedFrame::Array(open.pop().expect("one is open").1);
        }
        assert!(!item.is_last);
    }
}

fn replies() -> impl Strategy<Value = OwnedFrame> {
    let leaf = prop_oneof![
        "[ -~]{0,40}".prop_map(|text| OwnedFrame::SimpleString(text.into_bytes())),
        "[A-Z]{2,9}( [ -~]{0,30})?".prop_map(OwnedFrame::Error),
        any::<i64>().prop_map(OwnedFrame::Integer),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(OwnedFrame::BulkString),
        Just(OwnedFrame::Null),
    ];
    leaf.prop_recursive(DEPTH_MAX as u32 - 1, 60, 6, |inner| {
        proptest::collection::vec(inner, 0..6).prop_map(OwnedFrame::Array)
    })
}

fn written(frame: &OwnedFrame) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let length = encode(&mut bytes, frame, false).expect("there is room");
    bytes.truncate(length);
    bytes
}

proptest! {
    #[test]
    fn what_a_server_says_is_understood(frame in replies()) {
        let bytes = written(&frame);
        prop_assert_eq!(ours(&bytes), Some((frame, bytes.len())));
        for end in 0..bytes.len() {
            prop_assert_eq!(ours(&bytes[..end]), None, "half a reply is none");
        }
    }

    #[test]
    fn bytes_that_were_tampered_with_mean_the_same_or_nothing(
        frame in replies(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"+-:$*0123456789\r\n".to_vec())],
    ) {
        let mut bytes = written(&frame);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(read) = ours(&bytes) {
            prop_assert_eq!(decode(&bytes).ok().flatten(), Some(read));
        }
    }

    #[test]
    fn a_request_is_what_a_server_reads(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..9),
    ) {
        let mut bytes = Vec::new();
        let borrowed: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        request(&borrowed, &mut bytes);
        let expected = OwnedFrame::Array(parts.into_iter().map(OwnedFrame::BulkString).collect());
        prop_assert_eq!(decode(&bytes).ok().flatten(), Some((expected, bytes.len())));
    }
}

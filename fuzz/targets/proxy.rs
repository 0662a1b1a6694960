//! PROXY headers: the verdict on the first bytes of a connection, with every byte that comes.
//!
//! Finds: a panic, a verdict that changes once it has fallen, a header longer than its bytes or
//! than the longest there is, an endpoint that would not be one word of a log line, and an extent
//! that is not that of the header.
#![no_main]

use elbow::wire::Status;
use elbow::wire::proxy::{Error, V2_BYTES_MAX, extent, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What lies behind the longest header changes nothing; a little of it shows that.
    let bytes = &bytes[..bytes.len().min(V2_BYTES_MAX + 16)];
    let (mut verdict, mut end) = (Ok(Status::Partial), Ok(Status::Partial));
    for length in 0..=bytes.len() {
        let now = parse(&bytes[..length]);
        if verdict == Ok(Status::Partial) {
            if let Ok(Status::Complete(header)) = &now {
                assert_eq!(header.len, length, "it was whole before");
                let endpoint = header.vpc_endpoint.unwrap_or("vpce");
                assert!(endpoint.bytes().all(|byte| byte.is_ascii_graphic()), "{endpoint:?}");
            }
        } else {
            assert_eq!(now, verdict);
        }
        verdict = now;
        let now = extent(&bytes[..length]);
        assert!(end == Ok(Status::Partial) || now == end, "{end:?}, then {now:?}");
        end = now;
        match verdict {
            Ok(Status::Complete(header)) => assert_eq!(end, Ok(Status::Complete(header.len))),
            Ok(Status::Partial) => assert_eq!(end, Ok(Status::Partial)),
            Err(Error::NotProxy) => assert_eq!(end, Err(Error::NotProxy)),
            // It may have an end all the same.
            Err(_) => {}
        }
    }
    let is_over = verdict != Ok(Status::Partial) && end != Ok(Status::Partial);
    assert!(bytes.len() < V2_BYTES_MAX || is_over, "it waits for ever");
});

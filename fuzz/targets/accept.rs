//! Values of `Accept`: which format of metrics they ask for.
//!
//! Finds: a panic, a verdict that depends on whether ranges stand in one field or in several, and
//! OpenMetrics for somebody who has not named it.
#![no_main]

use elbow::metrics::prometheus::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let format = Format::accepted([value].into_iter());
    assert_eq!(Format::accepted(value.split(|byte| *byte == b',')), format);
    assert_eq!(Format::accepted([b"".as_slice(), value, b" , "].into_iter()), format);
    let name = b"openmetrics-text";
    let is_named = value.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
    assert!(is_named || format == Format::Prometheus);
});

//! The codecs: what it takes to understand what arrives.

#[path = "support/micro.rs"]
mod micro;

use core::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use elbow::wire::Status;
use elbow::wire::engine::{self, Form};
use elbow::wire::http::{self, FIELDS_MAX, HeadScan};
use elbow::wire::proxy;
use elbow::wire::socketio::Decoder;
use elbow::wire::ws::{Deframer, Utf8};

/// What Chrome sends to upgrade a connection behind a balancer.
const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\n\
    Pragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/126.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const PROXY_V1: &[u8] = b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 80\r\n";

fn main() {
    let mut criterion = micro::criterion();
    proxy_headers(&mut criterion);
    heads(&mut criterion);
    frames(&mut criterion);
    texts(&mut criterion);
    packets(&mut criterion);
    queries(&mut criterion);
    criterion.final_summary();
}

/// A header as an NLB sends it for a VPC endpoint: addresses, a checksum, the endpoint's name.
fn proxy_v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    let addresses = [198, 51, 100, 22, 203, 0, 113, 7, 0x8B, 0x3E, 0, 80];
    let endpoint = b"\x01vpce-08d2bf15fac5001c9";
    header.extend(((12 + 7 + 3 + endpoint.len()) as u16).to_be_bytes());
    header.extend(addresses);
    header.extend([3, 0, 4, 0, 0, 0, 0]);
    header.extend([0xEA, 0, endpoint.len() as u8]);
    header.extend(endpoint);
    // The checksum is taken over the header with zeros in its place.
    let checksum = crc32c::crc32c(&header).to_be_bytes();
    header[16 + 12 + 3..16 + 12 + 7].copy_from_slice(&checksum);
    header
}

fn proxy_headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/proxy");
    for (name, header) in [("v1", PROXY_V1.to_vec()), ("v2_with_tlvs", proxy_v2())] {
        assert!(matches!(proxy::parse(&header), Ok(Status::Complete(_))), "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| proxy::parse(black_box(&header)).is_ok())
        });
    }
    group.finish();
}

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/http");
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    group.bench_function("head", |bencher| {
        bencher.iter(|| {
            let mut scan = HeadScan::default();
            let scanned = scan.advance(black_box(HEAD));
            assert_eq!(scanned, Ok(Status::Complete(HEAD.len())));
            let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
            http::parse(HEAD, &mut storage).map(|request| request.fields("upgrade").count())
        });
    });
    group.finish();
}

/// A client's frame with this payload.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn frames(criterion: &mut Criterion) {
    for (name, opcode) in [("text", 1), ("binary", 2)] {
        let mut group = criterion.benchmark_group(format!("wire/deframe/{name}"));
        for bytes in [64, 1024, 16 * 1024, 64 * 1024] {
            let frame = frame(opcode, &vec![b'a'; bytes]);
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
                // Unmasked in place, so each needs bytes of its own.
                bencher.iter_batched_ref(
                    || frame.clone(),
                    |frame| {
                        let (used, input) = Deframer::new().next(frame, 65_536);
                        assert!(matches!(input, Ok(Status::Complete(_))));
                        used
                    },
                    BatchSize::NumBatches(64),
                );
            });
        }
        group.finish();
    }
}

fn texts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/utf8");
    for (name, text) in
        [("ascii", "Hello, world! ".repeat(74)), ("mixed", "Grüße, 世界! ".repeat(56))]
    {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut utf8 = Utf8::new();
                utf8.push(black_box(text.as_bytes())).and_then(|()| utf8.finish())
            });
        });
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let event = "2[\"chat message\",\"Hello, world! How are you all doing today?\"]";
    let separated = vec![format!("4{event}"); 8].join("\x1e");
    let counted: String = vec![format!("{}:4{event}", event.len() + 1); 8].concat();
    let mut group = criterion.benchmark_group("wire/engine");
    let form = |version| engine::Form::new(version, false).expect("text is always a form");
    let v4: Form = form(engine::Version::V4);
    let v3: Form = form(engine::Version::V3);
    for (name, form, body) in [("v4_8_packets", v4, separated), ("v3_8_packets", v3, counted)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let packets = engine::packets(form, black_box(body.as_bytes()));
                assert_eq!(packets.filter(Result::is_ok).count(), 8);
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("wire/socketio");
    group.throughput(Throughput::Bytes(event.len() as u64));
    group.bench_function("event", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::new();
            let packet = decoder.text(engine::Version::V4, black_box(event));
            packet.is_ok_and(|packet| packet.event().is_some())
        });
    });
    group.finish();
}

/// A query as clients send it, and the dearest that fit into a request line.
fn queries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/query");
    let full = |pair: &str| pair.repeat(http::TARGET_BYTES_MAX / pair.len());
    for (name, query) in [
        ("usual", "EIO=4&transport=polling&t=ovlmq7iu&sid=ExnPvMFcmbm6WPGeAAAA".to_owned()),
        ("8k_of_empty_pairs", full("&")),
        ("8k_of_names", full("j&")),
        ("8k_of_nearly_names", full("transpor&")),
    ] {
        group.throughput(Throughput::Bytes(query.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| engine::Query::parse(black_box(&query)).jsonp)
        });
    }
    group.finish();
}

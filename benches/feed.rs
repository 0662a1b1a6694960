//! The feed: what a publish costs, and what each reader asks of it.
//!
//! A publish copies the message once into the ring; how full the ring is makes no difference but
//! for eviction, so it is full here. A flush asks for the slices from a cursor to the head.

#[path = "support/micro.rs"]
mod micro;

use core::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use elbow::feed::{Feed, Mark};
use elbow::id::Offset;
use elbow::wire::ws::{HEADER_BYTES_MAX, Kind, header};

/// The default of `--feed`.
const RING_BYTES: usize = 1024 * 1024;

fn main() {
    let mut criterion = micro::criterion();
    append(&mut criterion);
    read(&mut criterion);
    criterion.final_summary();
}

/// A feed that is full of records of this payload.
fn full(payload: &[u8]) -> Feed {
    let mut feed = Feed::new(RING_BYTES);
    while feed.tail() == Offset(0) {
        publish(&mut feed, payload);
    }
    feed
}

/// What a publish does for a plain dialect.
fn publish(feed: &mut Feed, payload: &[u8]) {
    let mut head = [0; HEADER_BYTES_MAX];
    let length = header(Kind::Text, payload.len(), &mut head);
    feed.append(0, &[&head[..length], payload]);
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed/append");
    for bytes in [64, 1024, 64 * 1024] {
        let payload = vec![b'a'; bytes];
        let mut feed = full(&payload);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| publish(&mut feed, black_box(&payload)));
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed/read");
    let feed = full(&[b'a'; 64]);
    let head = feed.head();
    let record_bytes = 66;
    for records in [1, 32, 1000] {
        let from = Offset(head.0 - records * record_bytes);
        group.bench_function(BenchmarkId::new("slices", records), |bencher| {
            bencher.iter(|| black_box(&feed).slices(black_box(from), head));
        });
        // After a short write: which record does the cursor stand in?
        let inside = Offset(from.0 + 1);
        group.bench_function(BenchmarkId::new("locate", records), |bencher| {
            bencher.iter(|| black_box(&feed).locate(black_box(inside)));
        });
    }
    let behind = Mark { offset: feed.tail(), ..feed.mark() };
    group.bench_function("lags", |bencher| {
        bencher.iter(|| black_box(&feed).lags_more_than(black_box(behind), 2));
    });
    group.finish();
}

//! The timer wheel with 10,000 and with 1,000,000 deadlines: it must not be felt in either case.
//!
//! `set` arms a key, `put_off` moves a deadline to later, which each byte from a client does, and
//! `expire` lets a minute pass in which every key comes due once and is armed again for the next:
//! its time is that of one such key.

#[path = "support/micro.rs"]
mod micro;

use core::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use elbow::time::{Duration, Instant};
use elbow::wheel::Wheel;

const KEYS: [u32; 2] = [10_000, 1_000_000];
/// The default ping interval: what most deadlines are.
const AHEAD: Duration = Duration::from_secs(25);

fn main() {
    let mut criterion = micro::criterion();
    for keys in KEYS {
        set(&mut criterion, keys);
        put_off(&mut criterion, keys);
        expire(&mut criterion, keys);
    }
    criterion.final_summary();
}

/// A wheel whose deadlines are spread evenly over the interval.
fn full(keys: u32) -> Wheel {
    let mut wheel = Wheel::new(Instant::from_millis(0), keys as usize);
    for key in 0..keys {
        wheel.set(key, due(key, keys));
    }
    wheel
}

fn due(key: u32, keys: u32) -> Instant {
    let spread_ms = u64::from(key) * AHEAD.as_millis() / u64::from(keys);
    Instant::from_millis(spread_ms + 1)
}

/// Keys in an order in which neighbours are far apart, as connections are that happen to speak.
fn scattered(keys: u32) -> impl FnMut() -> u32 {
    let mut key = 0;
    move || {
        key = (key + 7_919) % keys;
        key
    }
}

fn set(criterion: &mut Criterion, keys: u32) {
    let mut wheel = full(keys);
    let mut next = scattered(keys);
    criterion.bench_function(&format!("wheel/set/{keys}"), |bencher| {
        bencher.iter(|| {
            let key = next();
            wheel.clear(key);
            wheel.set(key, black_box(due(key, keys)));
        });
    });
}

fn put_off(criterion: &mut Criterion, keys: u32) {
    let mut wheel = full(keys);
    let mut next = scattered(keys);
    let mut now_ms = 0;
    criterion.bench_function(&format!("wheel/put_off/{keys}"), |bencher| {
        bencher.iter(|| {
            now_ms += 1;
            wheel.set(next(), black_box(Instant::from_millis(now_ms).plus(AHEAD)));
        });
    });
}

fn expire(criterion: &mut Criterion, keys: u32) {
    let mut group = criterion.benchmark_group("wheel/expire");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(u64::from(keys)));
    group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
        bencher.iter_batched_ref(
            || full(keys),
            |wheel| {
                let mut fired = 0_u32;
                // A turn of the loop every 10 ms, for one interval and what a timer may be late.
                for turn in 0..2_700 {
                    let now = Instant::from_millis(turn * 10);
                    while let Some(key) = wheel.expire(now) {
                        fired += 1;
                        wheel.set(key, now.plus(AHEAD).plus(AHEAD));
                    }
                }
                assert_eq!(fired, keys, "each comes due once");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

//! How the benches of single mechanisms are measured: half a second each, so that all of them take
//! two minutes, with plots in `target/criterion`.

use std::time::Duration;

use criterion::Criterion;

/// criterion as all of them use it; the command line has the last word.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .nresamples(10_000)
        .configure_from_args()
}

//! A snapshot as metrics, in the text format of Prometheus (version 0.0.4) and in that of
//! OpenMetrics (version 1.0).
//!
//! The formats differ in little, and in the one thing that is easily done wrong: a counter's family
//! has the suffix `_total` in the first, and has none in the second. Prometheus' own library for
//! Rust writes the second alone, which read as the first leaves every counter without a type, and
//! would add 41 KB to the program for three families (of some forty).
//!
//! Names, labels and what they count are a contract with dashboards and alerts. Every family is
//! there from the start, also without a sample. No label carries anything from outside.
//!
//! The surprise: times are counted in whole microseconds, rounded down, and bounds of buckets are
//! powers of two of these. So a time counted below a bound was shorter than it, exactly.

use std::io::Write;

use super::snapshot::DIALECT_NAMES;
use super::{
    By, Command, Histogram, Lags, Metrics, ProbeShape, Refusal, Snapshot, Unsaid, VERSION,
};
use crate::reason::CloseReason;
use crate::wire::token::Fault;

/// What the program was compiled for.
pub const TARGET: &str = if cfg!(target_arch = "x86_64") {
    if cfg!(target_env = "musl") { "x86_64-linux-musl" } else { "x86_64-linux-gnu" }
} else if cfg!(target_arch = "aarch64") {
    if cfg!(target_env = "musl") { "aarch64-linux-musl" } else { "aarch64-linux-gnu" }
} else {
    "other"
};

/// A text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a request wants whose `Accept` fields have these values (RFC 9110 §12.5.1).
    /// OpenMetrics has to be asked for by name, and no less than the other.
    pub fn accepted<'a>(values: impl Iterator<Item = &'a [u8]>) -> Format {
        let (mut plain, mut open) = (0, 0);
        for range in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1000, None);
            for part in parts {
                let mut pair = part.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
                let (name, value) = (pair.next().unwrap_or_default(), pair.next());
                if name.eq_ignore_ascii_case(b"q") {
                    quality = thousandths(value.unwrap_or_default());
                } else if name.eq_ignore_ascii_case(b"version") {
                    version = value;
                }
            }
            if media.eq_ignore_ascii_case(b"text/plain") {
                plain = plain.max(quality);
            } else if media.eq_ignore_ascii_case(b"application/openmetrics-text")
                && version.is_none_or(|version| version.trim_ascii() == b"1.0.0")
            {
                open = open.max(quality);
            }
        }
        if open > 0 && open >= plain { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The media type of the format.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A quality value in thousandths; 0 for what is none.
fn thousandths(value: &[u8]) -> u32 {
    let (whole, rest) = match value {
        [b'1'] | [b'1', b'.', ..] => (1000, 0),
        [b'0', b'.', rest @ ..] => {
            let digits = rest.iter().chain(b"000").take(3);
            let value = digits
                .fold(0, |sum, digit| sum * 10 + u32::from(digit.saturating_sub(b'0').min(9)));
            (0, value)
        }
        _ => (0, 0),
    };
    whole + rest
}

/// What a family of samples is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// Appends all metrics of `snapshot` to `out`, some 15 KB.
pub fn render(snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
    let mut writer = Writer { out, format };
    writer.program(snapshot);
    writer.connections(snapshot);
    writer.requests(&snapshot.metrics);
    writer.messages(snapshot);
    writer.times(snapshot);
    writer.memory(snapshot);
    writer.backplane(snapshot);
    writer.refusals(&snapshot.metrics);
    if format == Format::OpenMetrics {
        writer.out.extend_from_slice(b"# EOF\n");
    }
}

/// What families and samples are written to.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    format: Format,
}

/// A name and a value.
type Label<'a> = (&'static str, &'a str);

impl Writer<'_> {
    fn text(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.out.extend_from_slice(part.as_bytes()));
    }

    /// Begins a family. `name` has no suffix that its samples have and the family has not.
    fn family(&mut self, name: &str, kind: Type, help: &str) {
        let (suffix, kind) = match (self.format, kind) {
            (Format::Prometheus, Type::Counter) => ("_total", "counter"),
            (Format::Prometheus, Type::Info) => ("_info", "gauge"),
            (Format::OpenMetrics, Type::Counter) => ("", "counter"),
            (Format::OpenMetrics, Type::Info) => ("", "info"),
            (_, Type::Gauge) => ("", "gauge"),
            (_, Type::Histogram) => ("", "histogram"),
        };
        self.text(&["# HELP ", name, suffix, " ", help, "\n"]);
        self.text(&["# TYPE ", name, suffix, " ", kind, "\n"]);
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.text(&["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    /// Writes what stands before the value of a sample.
    fn begin(&mut self, name: &str, suffix: &str, labels: &[Label<'_>]) {
        self.text(&[name, suffix]);
        for (number, (label, value)) in labels.iter().enumerate() {
            let mark = if number == 0 { "{" } else { "," };
            self.text(&[mark, label, "=\"", value, "\""]);
        }
        self.text(&[if labels.is_empty() { " " } else { "} " }]);
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], value: u64) {
        self.begin(name, suffix, labels);
        self.number(value);
        self.out.push(b'\n');
    }

    fn number(&mut self, value: u64) {
        write!(self.out, "{value}").expect("a vector takes every byte");
    }

    /// Writes microseconds as seconds.
    fn seconds(&mut self, us: u64) {
        let (whole, rest) = (us / 1_000_000, us % 1_000_000);
        write!(self.out, "{whole}.{rest:06}").expect("a vector takes every byte");
        // One digit stays behind the point.
        while self.out.ends_with(b"0") && !self.out.ends_with(b".0") {
            self.out.pop();
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, Type::Gauge, help);
        self.sample(name, "", &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, Type::Counter, help);
        self.sample(name, "_total", &[], value);
    }

    /// Writes a family with a sample for each value of its only label.
    fn by<'a>(
        &mut self,
        (name, kind, help): (&str, Type, &str),
        label: &'static str,
        samples: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, kind, help);
        let suffix = if kind == Type::Counter { "_total" } else { "" };
        for (value, count) in samples {
            self.sample(name, suffix, &[(label, value)], count);
        }
    }

    /// Writes a histogram with a bucket for each doubling, from `2^first` to `2^last` microseconds.
    fn histogram(&mut self, name: &str, times: &Histogram, (first, last): (u32, u32)) {
        for exponent in first..=last {
            self.text(&[name, "_bucket{le=\""]);
            self.seconds(1 << exponent);
            self.text(&["\"} "]);
            self.number(times.count_below(exponent));
            self.out.push(b'\n');
        }
        self.sample(name, "_bucket", &[("le", "+Inf")], times.count());
        self.begin(name, "_sum", &[]);
        self.seconds(times.sum_us());
        self.out.push(b'\n');
        self.sample(name, "_count", &[], times.count());
    }

    fn program(&mut self, snapshot: &Snapshot) {
        self.family("elbow_build", Type::Info, "The version that runs, and its target.");
        let labels = [("version", VERSION), ("target", TARGET)];
        self.sample("elbow_build", "_info", &labels, 1);
        let help = "When the server began, in seconds since 1970.";
        self.gauge("elbow_start_time_seconds", help, snapshot.started_unix_s);
        let process = snapshot.process;
        let mut gauge = |name, help, value: Option<u64>| {
            self.family(name, Type::Gauge, help);
            value.into_iter().for_each(|value| self.sample(name, "", &[], value));
        };
        let of = |value: fn(&super::Process) -> u64| process.as_ref().map(value);
        let resident = of(|process| process.resident_bytes);
        gauge("process_resident_memory_bytes", "Resident memory.", resident);
        gauge("process_open_fds", "Open descriptors.", of(|process| process.descriptors));
        gauge("process_max_fds", "Descriptors that may be open.", of(|it| it.descriptors_max));
        self.family("process_cpu_seconds", Type::Counter, "Time of processors that was used.");
        if let Some(process) = process {
            self.begin("process_cpu_seconds", "_total", &[]);
            self.seconds(process.cpu_us);
            self.out.push(b'\n');
        }
    }

    fn connections(&mut self, snapshot: &Snapshot) {
        let now = &snapshot.connections;
        let help = "Connections now; a Socket.IO session counts once, whatever carries it.";
        let kinds = [
            ("websocket", now.websocket),
            ("socketio", now.socketio),
            ("sse", now.sse),
            ("http", now.http),
        ];
        self.by(("elbow_connections", Type::Gauge, help), "kind", kinds);
        let metrics = &snapshot.metrics;
        let help = "Connections that were accepted, by any listener.";
        self.counter("elbow_connections_accepted", help, metrics.connections_accepted);
        let help = "Connections that ended, by the reason.";
        self.family("elbow_connections_closed", Type::Counter, help);
        for reason in CloseReason::ALL {
            self.closed("elbow_connections_closed", metrics, reason);
        }
        self.counter("elbow_received_bytes", "Bytes read from sockets.", metrics.received_bytes);
        self.counter("elbow_sent_bytes", "Bytes written to sockets.", metrics.sent_bytes);
    }

    /// Writes how many connections ended for a reason.
    fn closed(&mut self, name: &str, metrics: &Metrics, reason: CloseReason) {
        self.text(&[name, "_total{reason=\""]);
        self.out.extend(reason.label_bytes());
        self.text(&["\"} "]);
        self.number(metrics.closed(reason));
        self.out.push(b'\n');
    }

    fn requests(&mut self, metrics: &Metrics) {
        let help = "Requests that were answered, by the status of the answer.";
        self.family("elbow_requests", Type::Counter, help);
        for (code, count) in metrics.requests.iter() {
            self.text(&["elbow_requests_total{code=\""]);
            self.number(u64::from(code));
            self.text(&["\"} "]);
            self.number(count);
            self.out.push(b'\n');
        }
        let help = "Health probes, by what they look like.";
        let shapes = ProbeShape::ALL.map(|shape| (shape.name(), metrics.probes(shape)));
        self.by(("elbow_probes", Type::Counter, help), "shape", shapes);
        let help = "PROXY headers that were believed.";
        self.family("elbow_proxy_headers", Type::Counter, help);
        for (version, commands) in ["1", "2"].into_iter().zip(metrics.proxy_headers) {
            for (command, count) in Command::ALL.into_iter().zip(commands) {
                let labels = [("version", version), ("command", command.name())];
                self.sample("elbow_proxy_headers", "_total", &labels, count);
            }
        }
        let help = "Connections that were closed over their PROXY header.";
        self.family("elbow_proxy_errors", Type::Counter, help);
        for reason in CloseReason::OF_PROXY_HEADERS {
            self.closed("elbow_proxy_errors", metrics, reason);
        }
    }

    fn messages(&mut self, snapshot: &Snapshot) {
        let metrics = &snapshot.metrics;
        let help = "Channels that have members or keep something.";
        self.gauge("elbow_channels", help, snapshot.channels);
        let members = DIALECT_NAMES.into_iter().zip(snapshot.members);
        let help = "Members of all channels, by what they read.";
        self.by(("elbow_members", Type::Gauge, help), "dialect", members);
        let help = "Messages that were said, by the way they came in.";
        let ways = By::ALL.map(|by| (by.name(), metrics.published(by)));
        self.by(("elbow_messages_published", Type::Counter, help), "by", ways);
        let help = "Messages that were handed to readers, one for each reader.";
        self.counter("elbow_messages_delivered", help, metrics.messages_delivered);
        let help = "Messages that were said to nobody, by the reason.";
        let reasons = Unsaid::ALL.map(|reason| (reason.name(), metrics.unsaid(reason)));
        self.by(("elbow_messages_refused", Type::Counter, help), "reason", reasons);
        let help = "Bytes of messages in the rings of all channels.";
        self.gauge("elbow_feed_bytes", help, snapshot.feed_bytes);
        let help = "Readers that were closed, since they did not keep up.";
        self.counter("elbow_readers_lapped", help, metrics.readers_lapped);
        let help = "How often a publisher had to wait for readers.";
        self.counter("elbow_publishers_paused", help, metrics.publishers_paused);
        let help = "Newcomers that came back with a position, by what has become of it.";
        let results = ["whole", "partial_refused", "unknown"].into_iter().zip(metrics.replays);
        self.by(("elbow_replays", Type::Counter, help), "result", results);
        self.lags(&snapshot.lags);
    }

    /// Writes how far readers are behind, with a bucket for each fourfold.
    fn lags(&mut self, lags: &Lags) {
        let help = "How far each member is behind, at this moment.";
        self.family("elbow_lag_bytes", Type::Histogram, help);
        let point = if self.format == Format::OpenMetrics { ".0" } else { "" };
        let bounds = (8..=26).step_by(2).map(|exponent| (1 << exponent, exponent));
        for (bound, exponent) in [(0, None)].into_iter().chain(bounds.map(|(b, e)| (b, Some(e)))) {
            self.text(&["elbow_lag_bytes_bucket{le=\""]);
            self.number(bound);
            self.text(&[point, "\"} "]);
            self.number(exponent.map_or(lags.count_caught_up(), |it| lags.count_up_to(it)));
            self.out.push(b'\n');
        }
        self.sample("elbow_lag_bytes", "_bucket", &[("le", "+Inf")], lags.count());
        self.sample("elbow_lag_bytes", "_sum", &[], lags.sum_bytes());
        self.sample("elbow_lag_bytes", "_count", &[], lags.count());
    }

    fn times(&mut self, snapshot: &Snapshot) {
        let metrics = &snapshot.metrics;
        self.counter("elbow_pings_sent", "Pings that were sent.", metrics.pings);
        let help = "From a ping to the next that its peer sends.";
        self.family("elbow_pong_seconds", Type::Histogram, help);
        self.histogram("elbow_pong_seconds", &metrics.pongs, (10, 25));
        let help = "How long turns of the loop took, without their waiting.";
        self.family("elbow_turn_seconds", Type::Histogram, help);
        self.histogram("elbow_turn_seconds", &metrics.turns, (5, 22));
        let help = "From reading a message until every reader was sent it that can take it.";
        self.family("elbow_fan_out_seconds", Type::Histogram, help);
        self.histogram("elbow_fan_out_seconds", &metrics.fan_outs, (5, 22));
    }

    fn memory(&mut self, snapshot: &Snapshot) {
        let memory = &snapshot.memory;
        let help = "What memory is used for; tables are no part of --memory.";
        let parts = [
            ("rings", memory.rings),
            ("buffers", memory.buffers),
            ("sessions", memory.sessions),
            ("tables", memory.tables),
            ("free", memory.free),
        ];
        self.by(("elbow_memory_bytes", Type::Gauge, help), "part", parts);
        let ceiling = snapshot.limits.ceiling();
        let help = "The most memory that the process may use.";
        self.gauge("elbow_memory_ceiling_bytes", help, ceiling.user_bytes());
        let help = "The most memory that the kernel may use for its connections.";
        self.gauge("elbow_kernel_memory_ceiling_bytes", help, ceiling.kernel_bytes);
    }

    fn backplane(&mut self, snapshot: &Snapshot) {
        let backplane = snapshot.backplane.as_ref();
        let one = |value: fn(&super::Backplane) -> u64| backplane.map(value).into_iter();
        let name = "elbow_backplane_connected";
        self.family(name, Type::Gauge, "Whether both lines to Redis are up.");
        one(|it| u64::from(it.is_connected)).for_each(|value| self.sample(name, "", &[], value));
        let name = "elbow_backplane_round_trip_seconds";
        self.family(name, Type::Histogram, "How long Redis took to answer.");
        if let Some(backplane) = backplane {
            self.histogram(name, &backplane.round_trips, (6, 24));
        }
        let name = "elbow_backplane_pending_bytes";
        self.family(name, Type::Gauge, "Bytes of messages without a place in the order yet.");
        one(|it| it.pending_bytes).for_each(|value| self.sample(name, "", &[], value));
        let name = "elbow_backplane_resent";
        self.family(name, Type::Counter, "Messages that were sent to Redis once more.");
        one(|it| it.resent).for_each(|value| self.sample(name, "_total", &[], value));
        let name = "elbow_backplane_gaps";
        self.family(name, Type::Counter, "Gaps in a stream that were found.");
        one(|it| it.gaps).for_each(|value| self.sample(name, "_total", &[], value));
    }

    fn refusals(&mut self, metrics: &Metrics) {
        let help = "Newcomers that were not let in, by the reason.";
        let reasons = Refusal::ALL.map(|reason| (reason.name(), metrics.refused(reason)));
        self.by(("elbow_upgrades_refused", Type::Counter, help), "reason", reasons);
        let help = "Tokens that were not good, by the reason.";
        self.family("elbow_tokens_refused", Type::Counter, help);
        for fault in Fault::ALL {
            self.text(&["elbow_tokens_refused_total{reason=\""]);
            self.out.extend(fault.label_bytes());
            self.text(&["\"} "]);
            self.number(metrics.tokens_refused(fault));
            self.out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::time::Duration;

    fn snapshot() -> Snapshot {
        Snapshot::new(&Limits {
            connections_max: 100,
            connections_per_ip_max: None,
            admin_connections_max: 0,
            channels_max: 3,
            message_bytes_max: 256,
            feed_bytes: 1024,
            memory_bytes: 1 << 20,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            history: None,
            shared: false,
            message_rate: None,
            lifetime: None,
        })
    }

    fn rendered(snapshot: &Snapshot, format: Format) -> String {
        let mut out = Vec::new();
        render(snapshot, format, &mut out);
        String::from_utf8(out).expect("metrics are text")
    }

    /// The family of a sample's name, if the family is one of these.
    fn family_of<'a>(name: &str, families: &[&'a str]) -> Option<&'a str> {
        let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
        let matches = |family: &&&str| {
            let rest = name.strip_prefix(**family);
            rest.is_some_and(|rest| suffixes.contains(&rest))
        };
        families.iter().filter(matches).max_by_key(|family| family.len()).copied()
    }

    #[test]
    fn every_sample_stands_behind_its_own_family_and_each_family_is_said_once() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let mut snapshot = snapshot();
            snapshot.process = Some(super::super::Process::default());
            snapshot.backplane = Some(super::super::Backplane::default());
            snapshot.metrics.requests.count(404);
            let text = rendered(&snapshot, format);
            let (mut families, mut types) = (Vec::new(), Vec::new());
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    let (name, help) = rest.split_once(' ').expect("a family has a name");
                    assert!(!families.contains(&name) && help.ends_with('.'), "{line}");
                    families.push(name);
                } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                    let (name, kind) = rest.split_once(' ').expect("a family has a type");
                    assert_eq!(families.last(), Some(&name), "{line}");
                    let is_total = name.ends_with("_total");
                    let is_classic = format == Format::Prometheus;
                    assert_eq!(is_total, kind == "counter" && is_classic, "{line}");
                    types.push(name);
                } else if !line.starts_with('#') {
                    let name = line.split(['{', ' ']).next().expect("a sample has a name");
                    assert_eq!(family_of(name, &families).as_ref(), families.last(), "{line}");
                }
            }
            assert_eq!(families, types);
            let begins_with_ours =
                |name: &&&str| name.starts_with("elbow_") || name.starts_with("process_");
            assert_eq!(families.iter().filter(begins_with_ours).count(), families.len());
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
    }

    #[test]
    fn a_histogram_rises_to_its_count_and_seconds_are_exact() {
        let mut snapshot = snapshot();
        for us in [0, 63, 64, 1_000_000, 5_000_000] {
            snapshot.metrics.turns.record(us);
        }
        for bytes in [0, 0, 256, 257, 1 << 30] {
            snapshot.lags.record(bytes);
        }
        let text = rendered(&snapshot, Format::Prometheus);
        for line in [
            "elbow_turn_seconds_bucket{le=\"0.000032\"} 1",
            "elbow_turn_seconds_bucket{le=\"0.000064\"} 2",
            "elbow_turn_seconds_bucket{le=\"0.000128\"} 3",
            "elbow_turn_seconds_bucket{le=\"1.048576\"} 4",
            "elbow_turn_seconds_bucket{le=\"4.194304\"} 4",
            "elbow_turn_seconds_bucket{le=\"+Inf\"} 5",
            "elbow_turn_seconds_sum 6.000127",
            "elbow_turn_seconds_count 5",
            "elbow_lag_bytes_bucket{le=\"0\"} 2",
            "elbow_lag_bytes_bucket{le=\"256\"} 3",
            "elbow_lag_bytes_bucket{le=\"1024\"} 4",
            "elbow_lag_bytes_bucket{le=\"67108864\"} 4",
            "elbow_lag_bytes_bucket{le=\"+Inf\"} 5",
            "elbow_lag_bytes_sum 1073742337",
            "elbow_lag_bytes_count 5",
            "elbow_fan_out_seconds_sum 0.0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        let text = rendered(&snapshot, Format::OpenMetrics);
        assert!(text.contains("\nelbow_lag_bytes_bucket{le=\"256.0\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE elbow_build info\nelbow_build_info{"), "{text}");
    }

    #[test]
    fn open_metrics_has_to_be_asked_for_by_name() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (values, format) in [
            (&[][..], Format::Prometheus),
            (&["*/*"], Format::Prometheus),
            (&["text/html, application/json"], Format::Prometheus),
            (&[prometheus], Format::OpenMetrics),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["Application/OpenMetrics-Text ; Version=1.0.0"], Format::OpenMetrics),
            (&["text/plain", "application/openmetrics-text"], Format::OpenMetrics),
            (&["text/plain, application/openmetrics-text;q=0.999"], Format::Prometheus),
            (&["application/openmetrics-text;q=0"], Format::Prometheus),
            (&["application/openmetrics-text;q=0.000"], Format::Prometheus),
            (&["application/openmetrics-text;q=x"], Format::Prometheus),
            (&["application/openmetrics-text;version=2.0.0"], Format::Prometheus),
            (&[",;=,;q"], Format::Prometheus),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(Format::accepted(values.clone()), format, "{values:?}");
        }
    }
}

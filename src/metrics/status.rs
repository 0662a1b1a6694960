//! A snapshot as one JSON object (RFC 8259), for the doctor, the status page and scripts.
//!
//! The keys at the top are final: `version build uptime listeners limits connections channels
//! closes proxy_headers turn fan_out memory backplane findings`. Within them keys may come, and
//! none will go.
//! Times are in seconds, lags in bytes.
//!
//! The surprise: what is a secret is not here, and what names somebody neither. Names of channels
//! are, which strangers choose: whoever may read the status may read them.

use std::io::Write;

use super::findings::findings;
use super::snapshot::{ChannelView, DIALECT_NAMES};
use super::{
    By, Command, Histogram, Lags, ProbeShape, Snapshot, Surroundings, VERSION, prometheus,
};
use crate::reason::CloseReason;

/// The version of what the keys mean.
const STATUS_VERSION: u64 = 1;

/// Appends the status to `out`: some 7 KB, and at most 500 bytes for each channel that is shown.
pub fn render(snapshot: &Snapshot, around: &Surroundings, out: &mut Vec<u8>) {
    let mut json = Json { out };
    json.object(|json| {
        json.number("version", STATUS_VERSION);
        json.named("build", |json| {
            json.object(|json| {
                json.text("version", VERSION);
                json.text("target", prometheus::TARGET);
            });
        });
        json.named("uptime", |json| json.micros(snapshot.uptime.as_millis().saturating_mul(1000)));
        json.named("listeners", |json| {
            json.list(&around.listeners, |json, (kind, address)| {
                json.object(|json| {
                    json.text("kind", kind);
                    json.text("address", address);
                });
            });
        });
        limits(json, snapshot);
        connections(json, snapshot);
        json.named("channels", |json| json.list(&snapshot.largest, channel));
        json.named("closes", |json| json.closes(snapshot, CloseReason::ALL));
        proxy_headers(json, snapshot);
        json.named("turn", |json| json.object(|json| times(json, &snapshot.metrics.turns)));
        fan_out(json, snapshot);
        memory(json, snapshot);
        backplane(json, snapshot);
        json.named("findings", |json| {
            json.list(&findings(snapshot, around), |json, finding| {
                json.object(|json| {
                    json.text("id", finding.id);
                    json.text("text", &finding.text);
                    json.text("remedy", &finding.remedy);
                });
            });
        });
    });
    out.push(b'\n');
}

fn limits(json: &mut Json<'_>, snapshot: &Snapshot) {
    let limits = &snapshot.limits;
    let now = &snapshot.connections;
    let with_use = |json: &mut Json<'_>, name: &str, max: u64, used: u64| {
        json.named(name, |json| {
            json.object(|json| {
                json.number("max", max);
                json.number("used", used);
            });
        });
    };
    json.named("limits", |json| {
        json.object(|json| {
            let sessions = now.websocket + now.socketio + now.sse;
            with_use(json, "sessions", limits.connections_max as u64, sessions);
            with_use(json, "channels", limits.channels_max as u64, snapshot.channels);
            let used = limits.memory_bytes.saturating_sub(snapshot.memory.free);
            with_use(json, "memory_bytes", limits.memory_bytes, used);
            if let Some(process) = snapshot.process {
                with_use(json, "descriptors", process.descriptors_max, process.descriptors);
            }
            json.number("sessions_per_address", limits.sessions_per_address_max() as u64);
            json.number("message_bytes", limits.message_bytes_max);
            json.number("feed_bytes", limits.feed_bytes);
            json.number("history", limits.history.map_or(0, |history| history.messages_max));
            let micros = |time: crate::time::Duration| time.as_millis().saturating_mul(1000);
            json.named("ping_interval", |json| json.micros(micros(limits.ping_interval)));
            json.named("ping_timeout", |json| json.micros(micros(limits.ping_timeout)));
        });
    });
}

fn connections(json: &mut Json<'_>, snapshot: &Snapshot) {
    let now = &snapshot.connections;
    json.named("connections", |json| {
        json.object(|json| {
            json.number("websocket", now.websocket);
            json.number("socketio", now.socketio);
            json.number("sse", now.sse);
            json.number("http", now.http);
        });
    });
}

fn channel(json: &mut Json<'_>, view: &ChannelView) {
    json.object(|json| {
        json.text("name", &view.name);
        json.named("members", |json| {
            json.object(|json| {
                DIALECT_NAMES
                    .into_iter()
                    .zip(view.members)
                    .for_each(|(name, count)| json.number(name, count));
            });
        });
        json.text("position", &view.position);
        json.number("kept", view.kept);
        json.named("lag", |json| json.lag(&view.lags));
    });
}

fn proxy_headers(json: &mut Json<'_>, snapshot: &Snapshot) {
    let metrics = &snapshot.metrics;
    json.named("proxy_headers", |json| {
        json.object(|json| {
            for (version, commands) in ["1", "2"].into_iter().zip(metrics.proxy_headers) {
                json.named(version, |json| {
                    json.object(|json| {
                        Command::ALL
                            .into_iter()
                            .zip(commands)
                            .for_each(|(command, count)| json.number(command.name(), count));
                    });
                });
            }
            json.named("errors", |json| json.closes(snapshot, CloseReason::OF_PROXY_HEADERS));
            json.named("probes", |json| {
                json.object(|json| {
                    ProbeShape::ALL
                        .into_iter()
                        .for_each(|shape| json.number(shape.name(), metrics.probes(shape)));
                });
            });
        });
    });
}

fn fan_out(json: &mut Json<'_>, snapshot: &Snapshot) {
    let metrics = &snapshot.metrics;
    json.named("fan_out", |json| {
        json.object(|json| {
            times(json, &metrics.fan_outs);
            json.named("published", |json| {
                json.object(|json| {
                    By::ALL
                        .into_iter()
                        .for_each(|by| json.number(by.name(), metrics.published(by)));
                });
            });
            json.number("delivered", metrics.messages_delivered);
            json.number("received_bytes", metrics.received_bytes);
            json.number("sent_bytes", metrics.sent_bytes);
            json.number("lapped", metrics.readers_lapped);
            json.number("publishers_paused", metrics.publishers_paused);
            json.number("speakers_held_back", metrics.speakers_held_back);
            json.named("lag", |json| json.lag(&snapshot.lags));
        });
    });
}

/// Writes a histogram's particulars: how many times, their sum, quantiles, and a list of pairs, a
/// bound and how many times were shorter.
fn times(json: &mut Json<'_>, times: &Histogram) {
    json.number("count", times.count());
    json.named("sum", |json| json.micros(times.sum_us()));
    for (name, parts) in [("p50", 500), ("p99", 990), ("p999", 999)] {
        json.named(name, |json| json.micros(times.quantile_us(parts)));
    }
    json.named("max", |json| json.micros(times.max_us()));
    json.named("buckets", |json| {
        let exponents: [u32; 18] = core::array::from_fn(|number| number as u32 + 5);
        json.list(&exponents, |json, exponent| {
            json.out.push(b'[');
            json.micros(1 << exponent);
            json.out.push(b',');
            json.plain(times.count_below(*exponent));
            json.out.push(b']');
        });
    });
}

fn memory(json: &mut Json<'_>, snapshot: &Snapshot) {
    let (memory, ceiling) = (&snapshot.memory, snapshot.limits.ceiling());
    json.named("memory", |json| {
        json.object(|json| {
            json.number("rings", memory.rings);
            json.number("buffers", memory.buffers);
            json.number("sessions", memory.sessions);
            json.number("tables", memory.tables);
            json.number("free", memory.free);
            json.number("ceiling", ceiling.user_bytes());
            json.number("kernel_ceiling", ceiling.kernel_bytes);
            if let Some(process) = snapshot.process {
                json.number("resident", process.resident_bytes);
            }
        });
    });
}

fn backplane(json: &mut Json<'_>, snapshot: &Snapshot) {
    json.named("backplane", |json| match &snapshot.backplane {
        None => json.out.extend_from_slice(b"null"),
        Some(backplane) => json.object(|json| {
            let word = if backplane.is_connected { "true" } else { "false" };
            json.named("connected", |json| json.out.extend_from_slice(word.as_bytes()));
            json.number("pending_bytes", backplane.pending_bytes);
            json.number("resent", backplane.resent);
            json.number("gaps", backplane.gaps);
            json.named("round_trip", |json| {
                json.object(|json| times(json, &backplane.round_trips));
            });
        }),
    });
}

/// What a JSON text is written to. A comma is put in front of what does not come first.
struct Json<'o> {
    out: &'o mut Vec<u8>,
}

impl Json<'_> {
    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    fn object(&mut self, members: impl FnOnce(&mut Json<'_>)) {
        self.out.push(b'{');
        members(&mut Json { out: self.out });
        self.out.push(b'}');
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Json<'_>, &T)) {
        self.out.push(b'[');
        for item in items {
            self.comma();
            write(&mut Json { out: self.out }, item);
        }
        self.out.push(b']');
    }

    /// Writes a member of an object. Names are ours, and have nothing to be escaped.
    fn named(&mut self, name: &str, value: impl FnOnce(&mut Json<'_>)) {
        self.comma();
        write!(self.out, "\"{name}\":").expect("a vector takes every byte");
        value(&mut Json { out: self.out });
    }

    fn number(&mut self, name: &str, value: u64) {
        self.named(name, |json| json.plain(value));
    }

    fn plain(&mut self, value: u64) {
        write!(self.out, "{value}").expect("a vector takes every byte");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.named(name, |json| {
            serde_json::to_writer(&mut *json.out, value).expect("a string is JSON");
        });
    }

    /// Writes microseconds as seconds.
    fn micros(&mut self, us: u64) {
        let (whole, rest) = (us / 1_000_000, us % 1_000_000);
        write!(self.out, "{whole}.{rest:06}").expect("a vector takes every byte");
    }

    fn lag(&mut self, lags: &Lags) {
        self.object(|json| {
            json.number("p50", lags.quantile_bytes(50));
            json.number("p99", lags.quantile_bytes(99));
            json.number("max", lags.max_bytes());
        });
    }

    /// Writes how many connections ended for each of these reasons.
    fn closes(&mut self, snapshot: &Snapshot, reasons: impl IntoIterator<Item = CloseReason>) {
        self.object(|json| {
            for reason in reasons {
                json.comma();
                json.out.push(b'"');
                json.out.extend(reason.label_bytes());
                json.out.extend_from_slice(b"\":");
                json.plain(snapshot.metrics.closed(reason));
            }
        });
    }
}

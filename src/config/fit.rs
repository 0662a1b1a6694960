//! What fits into the machine: `--max-connections`, `--memory` and the socket buffers, such that
//! the printed ceiling stays below the memory that there is (`--fit`).
//!
//! Done behind the other defaults (`derived.rs`), on which the ceiling depends. Whoever asked for
//! one of the four keeps it, and the others are derived around it. The order of what gives way:
//!
//! ```text
//!   memory that there is ─┬─ left to others: a quarter, or a sixteenth in a control group
//!                         └─ room ─┬─ --memory: an eighth
//!                                  └─ connections: smaller buffers while they are few
//! ```
//!
//! The surprise: buffers do not shrink to hold as many connections as descriptors allow. Below
//! 4,096 connections more of them are worth more than larger buffers, beyond that they are not. So
//! with more memory first the connections grow, then the buffers, then the connections again.

use core::ops::RangeInclusive;

use super::failure::Failure;
use super::machine::Machine;
use super::options::Asked;
use super::row::Found;
use super::value::{GIB, KIB, MIB, size_rounded};
use crate::limits::Limits;

/// Buffers are made smaller while fewer connections than this fit.
const CONNECTIONS_FEW: u64 = 4096;

/// KiB of the send buffer, from the least to the default; the receive buffer has half of them. With
/// less than the least a single large message takes a connection many turns.
const SEND_KIB: RangeInclusive<u64> = 16..=64;

/// KiB by which one send buffer that is tried is smaller than the last.
const SEND_KIB_STEP: usize = 4;

/// The part of the room that `--memory` gets.
const MEMORY_PARTS: u64 = 8;

/// The most that `--memory` gets. With more, other limits are met before it is used.
const MEMORY_MAX: u64 = GIB;

/// The bytes of the machine's memory that the ceiling may take: all but a sixteenth of what a
/// control group has, for what the kernel counts there beside sockets; all but a quarter of what
/// other programs share. `None` if nobody knows how much there is.
pub(super) fn room_bytes(machine: &Machine) -> Option<u64> {
    let parts = if machine.memory_is_shared { 4 } else { 16 };
    machine.memory_bytes.map(|bytes| bytes - bytes.div_ceil(parts))
}

/// The values that are derived here.
#[derive(Clone, Copy)]
struct Fitted {
    connections: u64,
    memory_bytes: u64,
    send_bytes: u64,
    receive_bytes: u64,
}

/// Derives what was not asked for, if `--fit` was.
///
/// # Errors
/// If what was asked for has no room, or nobody knows how much room there is.
pub(super) fn fit(asked: &mut Asked, machine: &Machine) -> Result<(), Failure> {
    if !asked.fit.value {
        return Ok(());
    }
    let Some(room_bytes) = room_bytes(machine) else {
        return Err(Failure::contradiction(format!(
            "{} needs to know how much memory there is, and neither a control group nor \
             /proc/meminfo tells: allowed is --fit with --max-connections, --memory, --send-buffer \
             and --receive-buffer left out of it, each given by itself",
            asked.fit.named()
        )));
    };
    let room = Room { asked, machine, room_bytes };
    let fitted = room.fitted();
    if room.ceiling_bytes(fitted) > room_bytes || fitted.connections == 0 {
        return Err(room.too_small());
    }
    let connections = usize::try_from(fitted.connections).unwrap_or(usize::MAX);
    asked.max_connections.derive(connections);
    asked.memory.derive(fitted.memory_bytes);
    asked.send_buffer.derive(fitted.send_bytes);
    asked.receive_buffer.derive(fitted.receive_bytes);
    Ok(())
}

/// The memory that there is, and what was asked to be in it.
struct Room<'a> {
    asked: &'a Asked,
    machine: &'a Machine,
    room_bytes: u64,
}

impl Room<'_> {
    /// The best that fits, or what comes nearest to fitting.
    fn fitted(&self) -> Fitted {
        let asked = self.asked;
        let memory_bytes = if asked.memory.is_asked() {
            asked.memory.value
        } else {
            let share = self.room_bytes / MEMORY_PARTS / MIB * MIB;
            // At least as much for everything else as for the channel `default`.
            share.min(MEMORY_MAX).max(2 * self.channel_bytes())
        };
        let connections = asked.max_connections.value as u64;
        let is_exact = asked.max_connections.is_asked();
        let wanted = if is_exact { connections } else { connections.min(CONNECTIONS_FEW) };
        let with_buffers = |send_kib: u64| {
            let fitted = Fitted {
                connections: 0,
                memory_bytes,
                send_bytes: chosen(&asked.send_buffer, send_kib * KIB),
                receive_bytes: chosen(&asked.receive_buffer, send_kib * KIB / 2),
            };
            Fitted { connections: self.connections(fitted), ..fitted }
        };
        let (least, most) = (with_buffers(*SEND_KIB.start()), with_buffers(*SEND_KIB.end()));
        if most.connections >= wanted {
            return Fitted { connections: most.connections.min(connections), ..most };
        }
        if least.connections >= wanted {
            let mut steps = SEND_KIB.rev().step_by(SEND_KIB_STEP).map(with_buffers);
            let enough = steps.find(|fitted| fitted.connections >= wanted).unwrap_or(least);
            // What the steps leave over is not worth a larger machine with fewer connections.
            return Fitted { connections: wanted, ..enough };
        }
        if is_exact {
            return Fitted { connections, ..self.squeezed(least, connections) };
        }
        if least.connections == 0 { self.squeezed(least, 1) } else { least }
    }

    /// As much of `--memory` as is left beside `least` connections, if it was not asked for; at
    /// least what the channel `default` needs.
    fn squeezed(&self, fitted: Fitted, least: u64) -> Fitted {
        if self.asked.memory.is_asked() {
            return fitted;
        }
        let without = Fitted { connections: least, memory_bytes: 0, ..fitted };
        let left = self.room_bytes.saturating_sub(self.ceiling_bytes(without));
        let memory_bytes = (left / MIB * MIB).max(self.channel_bytes());
        let squeezed = Fitted { memory_bytes, ..fitted };
        Fitted { connections: self.connections(squeezed), ..squeezed }
    }

    /// How many connections there is room for, whatever `fitted` says of that.
    fn connections(&self, fitted: Fitted) -> u64 {
        let of = |connections| self.ceiling_bytes(Fitted { connections, ..fitted });
        let (none, one) = (of(0), of(1));
        // Each takes as much as the first: a place in the tables, and the kernel's share.
        self.room_bytes.checked_sub(none).map_or(0, |left| left / (one - none))
    }

    fn channel_bytes(&self) -> u64 {
        Limits::default_channel_bytes(self.asked.feed.value, self.asked.history())
    }

    /// What is printed as the ceiling, all in all.
    fn ceiling_bytes(&self, fitted: Fitted) -> u64 {
        let asked = self.asked;
        let buffer = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        let limits = Limits {
            connections_max: usize::try_from(fitted.connections).unwrap_or(usize::MAX),
            connections_per_ip_max: None,
            admin_connections_max: asked.admin_connections(self.machine),
            channels_max: asked.max_channels.value,
            message_bytes_max: asked.max_message.value,
            feed_bytes: asked.feed.value,
            memory_bytes: fitted.memory_bytes,
            send_buffer_bytes: buffer(fitted.send_bytes),
            receive_buffer_bytes: buffer(fitted.receive_bytes),
            ping_interval: asked.ping_interval.value,
            ping_timeout: asked.ping_timeout.value,
            drain: asked.drain.value,
            history: asked.history(),
            shared: asked.redis.value.is_some(),
            message_rate: asked.message_rate.value,
            lifetime: asked.max_lifetime.value,
        };
        limits.ceiling().total_bytes()
    }

    /// What to say where nothing fits: who wants how much, and what would fit.
    fn too_small(&self) -> Failure {
        let asked = self.asked;
        let given = [
            asked.max_connections.is_asked().then(|| asked.max_connections.named()),
            asked.memory.is_asked().then(|| asked.memory.named()),
            asked.send_buffer.is_asked().then(|| asked.send_buffer.named()),
            asked.receive_buffer.is_asked().then(|| asked.receive_buffer.named()),
        ];
        let given: Vec<String> = given.into_iter().flatten().collect();
        let with =
            if given.is_empty() { String::new() } else { format!(" with {}", given.join(", ")) };
        let least = self.fitted();
        let one = Fitted { connections: least.connections.max(1), ..least };
        let (needed, room) = (size_rounded(self.ceiling_bytes(one)), size_rounded(self.room_bytes));
        let allowed = match self.connections(least) {
            0 => format!("allowed is a machine or a control group with room for {needed}"),
            most => format!("allowed is --max-connections {most} or less"),
        };
        Failure::contradiction(format!(
            "{}{with} needs {needed}, and there is room for {room}: {allowed}",
            asked.fit.named()
        ))
    }
}

/// What somebody asked for, or else `derived`.
fn chosen(found: &Found<u64>, derived: u64) -> u64 {
    if found.is_asked() { found.value } else { derived }
}

//! Sockets that systemd hands over: how many, and what each is for.
//!
//! The variables are those of sd_listen_fds(3). A name (`FileDescriptorName=` of a socket unit)
//! tells what a socket is for: `http`, `health` or `admin`. A socket of any other name, or without
//! one, is public, since the default name is that of the unit, which may be anything. What is
//! handed over stands in the place of the flag for the same listener, and of no other.
//!
//! The surprise: the variables are read twice. Which listeners there are decides which values can
//! hold, before anything is opened.

use std::os::fd::{FromRawFd, RawFd};

use crate::config::{self, Activated};
use crate::server::Listener;
use crate::text::shown_text;

/// The first descriptor that systemd hands over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// The most sockets that are taken; each holds one of the reserved descriptors.
const SOCKETS_MAX: usize = 10;

/// What tells of the sockets.
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Which listeners were handed over to this process. What cannot be read is taken for public here,
/// and refused by [`sockets`].
pub(super) fn activated() -> Activated {
    let Some(count) = config::environment("LISTEN_FDS") else { return Activated::NONE };
    let pid = config::environment("LISTEN_PID");
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return Activated::NONE;
    }
    let kinds = kinds(&count, config::environment("LISTEN_FDNAMES").as_deref());
    let kinds = kinds.unwrap_or_else(|_| vec![Listener::Public]);
    Activated {
        public: kinds.contains(&Listener::Public),
        health: kinds.contains(&Listener::Health),
        admin: kinds.contains(&Listener::Admin),
    }
}

/// The sockets that were handed over, and what each is for.
///
/// # Errors
/// A line for the operator: the variables make no sense, or a descriptor is no listening socket.
pub(super) fn sockets() -> Result<Vec<(Listener, socket2::Socket)>, String> {
    let count = config::environment("LISTEN_FDS").unwrap_or_default();
    let kinds = kinds(&count, config::environment("LISTEN_FDNAMES").as_deref())?;
    (FIRST..).zip(kinds).map(|(number, kind)| Ok((kind, socket(number)?))).collect()
}

/// What each of `count` sockets is for, by `names`, which are parted by colons.
fn kinds(count: &str, names: Option<&str>) -> Result<Vec<Listener>, String> {
    let allowed = |count: &usize| (1..=SOCKETS_MAX).contains(count);
    let sockets = count.parse().ok().filter(allowed).ok_or_else(|| {
        let count = shown_text(count);
        format!("LISTEN_FDS is \"{count}\": 1 to {SOCKETS_MAX} sockets are allowed")
    })?;
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return Ok(vec![Listener::Public; sockets]);
    };
    let kinds: Vec<Listener> = names.split(':').map(kind).collect();
    if kinds.len() != sockets {
        return Err(format!(
            "LISTEN_FDNAMES has {} names, and LISTEN_FDS has {sockets} sockets: allowed is a name \
             for each",
            kinds.len()
        ));
    }
    Ok(kinds)
}

/// What a socket of this name is for.
fn kind(name: &str) -> Listener {
    match name {
        "health" => Listener::Health,
        "admin" => Listener::Admin,
        _ => Listener::Public,
    }
}

fn socket(descriptor: RawFd) -> Result<socket2::Socket, String> {
    // The number is looked up first, so that a descriptor that was never opened is an error, not a
    // guess.
    let place = format!("/proc/self/fd/{descriptor}");
    let target = std::fs::read_link(place).unwrap_or_default();
    if !target.to_string_lossy().starts_with("socket:") {
        return Err(format!("LISTEN_FDS: descriptor {descriptor} is not a socket"));
    }
    // SAFETY: the descriptor is open, as was just seen, and nobody else in this process owns it: it
    // was opened before the process began, and each number is taken once, at start.
    #[expect(unsafe_code, reason = "a descriptor handed over by number has no safe owner yet")]
    let socket = unsafe { socket2::Socket::from_raw_fd(descriptor) };
    match socket.is_listener() {
        Ok(true) => Ok(socket),
        Ok(false) | Err(_) => {
            Err(format!("LISTEN_FDS: descriptor {descriptor} does not listen (Accept=no?)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Listener::{Admin, Health, Public};

    #[test]
    fn a_name_says_what_a_socket_is_for() {
        assert_eq!(kinds("3", Some("http:health:admin")), Ok(vec![Public, Health, Admin]));
        assert_eq!(kinds("3", Some("admin:elbow.socket:")), Ok(vec![Admin, Public, Public]));
        for any in ["unknown", "Health", "health ", "connection", ":"] {
            let one = if any == ":" { "2" } else { "1" };
            assert!(kinds(one, Some(any)).is_ok_and(|kinds| kinds[0] == Public), "{any}");
        }
        for none in [None, Some("")] {
            assert_eq!(kinds("2", none), Ok(vec![Public, Public]));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for count in ["", "0", "11", "-1", "1.0", "one", "99999999999999999999"] {
            let refused = kinds(count, None);
            assert!(refused.is_err_and(|line| line.contains("1 to 10 sockets")), "{count}");
        }
        for (count, names) in [("1", "http:health"), ("3", "http:health"), ("2", "http")] {
            let refused = kinds(count, Some(names));
            assert!(refused.is_err_and(|line| line.contains("a name for each")), "{names}");
        }
    }
}

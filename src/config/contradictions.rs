//! What cannot hold together: values against each other, and against the machine.
//!
//! Each value is already within its own bounds, and the defaults are derived. A refusal names both
//! sides and who each comes from, and says what is allowed: whoever reads the line may know only
//! one of the two.
//!
//! The surprise: sizes are compared as they will hold, so a feed that is large enough only once it
//! is rounded up is large enough.

use super::derived::MESSAGES_PER_FEED;
use super::failure::Failure;
use super::listen::Listen;
use super::machine::Machine;
use super::option::Opt;
use super::options::{Asked, TABLE};
use super::redis::{HAS_TLS, PASSWORD_VARIABLE, PasswordFault};
use super::value::size_text;
use super::words::Lb;
use crate::limits::{CHANNELS_SHARED_MAX, Limits, descriptors_for};
use crate::settings::{Anonymous, ProxyMode, SECRET_BYTES_MAX};

/// Holds all values against each other and against the machine. `has_token` tells whether somebody
/// has set the token of the admin listener.
///
/// # Errors
/// The first contradiction that is found.
pub(super) fn check(asked: &Asked, machine: &Machine, has_token: bool) -> Result<(), Failure> {
    check_listeners(asked, machine)?;
    check_admin(asked, machine, has_token)?;
    check_balancer(asked)?;
    check_accepting(asked, machine)?;
    check_message_rate(asked)?;
    check_memory(asked)?;
    check_history(asked)?;
    check_tokens(asked)?;
    check_redis(asked)?;
    check_descriptors(asked, machine)
}

/// Two listeners in each other's way would fail to bind, at start and with a worse message.
fn check_listeners(asked: &Asked, machine: &Machine) -> Result<(), Failure> {
    let activated = machine.activated;
    let public = asked.listen.value.iter().filter(|_| !activated.public);
    let health = asked.health_listen.value.iter().filter(|_| !activated.health);
    let health = health.map(|address| (&TABLE.health_listen.option, address));
    let admin = asked.admin_listen.value.iter().filter(|_| !activated.admin);
    let admin = admin.map(|address| (&TABLE.admin_listen.option, address));
    let public = public.map(|address| (&TABLE.listen.option, address));
    let all: Vec<(&Opt, &Listen)> = public.chain(health).chain(admin).collect();
    for (index, (option, address)) in all.iter().enumerate() {
        let before = all[..index].iter().find(|(_, before)| address.is_in_the_way_of(before));
        if let Some((other, before)) = before {
            return Err(Failure::contradiction(format!(
                "{} {address} is in the way of {} {before}: allowed are different ports, \
                 or different addresses",
                option.flag(),
                other.flag()
            )));
        }
    }
    Ok(())
}

/// Whoever reaches the admin listener may do everything there, so who that can be is decided by a
/// token, or by the machine: on loopback, or by the permissions of a file.
fn check_admin(asked: &Asked, machine: &Machine, has_token: bool) -> Result<(), Failure> {
    match asked.admin_listen.value.as_ref().filter(|_| !machine.activated.admin) {
        Some(listen) if !listen.is_local() && !has_token => Err(Failure::contradiction(format!(
            "{} needs a token: allowed is a loopback address or unix:PATH without one, or \
             --admin-token-file, the variable ELBOW_ADMIN_TOKEN or systemd's credential \
             admin-token",
            asked.admin_listen.named()
        ))),
        Some(_) | None => Ok(()),
    }
}

fn check_balancer(asked: &Asked) -> Result<(), Failure> {
    let lb = asked.lb.value;
    if lb == Lb::Alb && asked.proxy_protocol.value == ProxyMode::Required {
        return Err(Failure::contradiction(format!(
            "{} contradicts {}: an ALB sends no PROXY header, so no connection would be \
             accepted",
            asked.proxy_protocol.named(),
            asked.lb.named()
        )));
    }
    let interval = asked.ping_interval.value;
    match lb.ping_limit() {
        Some(limit) if interval >= limit => Err(Failure::contradiction(format!(
            "{} contradicts {}: allowed is less than {limit}, half of its idle timeout",
            asked.ping_interval.named(),
            asked.lb.named()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A balancer whose probes wait in the backlog behind everybody takes the instance out.
fn check_accepting(asked: &Asked, machine: &Machine) -> Result<(), Failure> {
    let is_apart = asked.health_listen.value.is_some() || machine.activated.health;
    if asked.accept_rate.value.is_none() || asked.lb.value == Lb::None || is_apart {
        return Ok(());
    }
    Err(Failure::contradiction(format!(
        "{} contradicts {}: allowed is --health-listen with an address, so that health probes do \
         not wait in the backlog",
        asked.accept_rate.named(),
        asked.lb.named()
    )))
}

/// Whoever answers each ping must still be heard: answers count as messages do, and a client whose
/// answers take all that it may say would never come to say anything else.
fn check_message_rate(asked: &Asked) -> Result<(), Failure> {
    let Some(rate) = asked.message_rate.value else { return Ok(()) };
    let interval_ms = asked.ping_interval.value.as_millis();
    if u64::from(rate.per_second()) * interval_ms > 1000 {
        return Ok(());
    }
    Err(Failure::contradiction(format!(
        "{} contradicts {}: allowed is {} or more, since answers to pings count",
        asked.message_rate.named(),
        asked.ping_interval.named(),
        1000 / interval_ms + 1
    )))
}

/// The feed must hold some messages, and the memory at least the channel `default`, which
/// always has its place.
fn check_memory(asked: &Asked) -> Result<(), Failure> {
    let (feed, message, memory) = (asked.feed.value, asked.max_message.value, asked.memory.value);
    let feed_shown = asked.feed.named();
    if feed < message * MESSAGES_PER_FEED {
        return Err(Failure::contradiction(format!(
            "{feed_shown} contradicts {}: allowed is {} or more, four times that",
            asked.max_message.named(),
            size_text(message * MESSAGES_PER_FEED)
        )));
    }
    let channel = Limits::default_channel_bytes(feed, asked.history());
    if memory < channel {
        return Err(Failure::contradiction(format!(
            "{} contradicts {feed_shown}: allowed is {} or more, which is set aside \
             for the channel default",
            asked.memory.named(),
            size_text(channel)
        )));
    }
    Ok(())
}

/// Nobody can be sent what they missed where nothing is kept.
fn check_history(asked: &Asked) -> Result<(), Failure> {
    if asked.history.value.is_some() || !asked.recovery.value {
        return Ok(());
    }
    Err(Failure::contradiction(format!(
        "{} contradicts {}: allowed is --history with a number of messages",
        asked.recovery.named(),
        asked.history.named()
    )))
}

/// Every request for what is new names all channels, and a file of certificates is for whoever
/// checks one.
fn check_redis(asked: &Asked) -> Result<(), Failure> {
    let Some(url) = &asked.redis.value else { return Ok(()) };
    let is_encrypted = url.is_encrypted();
    if is_encrypted && !HAS_TLS {
        return Err(Failure::contradiction(format!(
            "{} needs TLS, which this build of elbow does not have: allowed is redis://, or the \
             download elbow-tls, which is built with --features tls",
            asked.redis.named()
        )));
    }
    if asked.redis_ca.value.is_some() && !is_encrypted {
        return Err(Failure::contradiction(format!(
            "{} contradicts {}: certificates are checked with rediss:// alone",
            asked.redis_ca.named(),
            asked.redis.named()
        )));
    }
    if asked.max_channels.value > CHANNELS_SHARED_MAX {
        return Err(Failure::contradiction(format!(
            "{} contradicts {}: allowed is {CHANNELS_SHARED_MAX} or less, since each request for \
             what is new names them all",
            asked.max_channels.named(),
            asked.redis.named()
        )));
    }
    Ok(())
}

/// The refusal of a password that was given twice, or cannot be one.
pub(super) fn password_failure(fault: PasswordFault) -> Failure {
    Failure::contradiction(match fault {
        PasswordFault::Twice(other) => {
            format!("--redis has a password, and {other} another: allowed is one of the two")
        }
        PasswordFault::Unusable => {
            format!("{PASSWORD_VARIABLE}: allowed is a password of 1 to {SECRET_BYTES_MAX} bytes")
        }
    })
}

/// A server that lets nobody in, keys that let in too many, and rules about tokens where none are
/// checked.
fn check_tokens(asked: &Asked) -> Result<(), Failure> {
    let Some(key_files) = &asked.token_key.value else {
        let audience = asked.token_audience.value.as_ref().map(|_| asked.token_audience.named());
        let issuer = asked.token_issuer.value.as_ref().map(|_| asked.token_issuer.named());
        let nobody = asked.anonymous.value == Anonymous::None;
        let nobody = nobody.then(|| asked.anonymous.named());
        return match audience.or(issuer).or(nobody) {
            Some(named) => Err(Failure::contradiction(format!(
                "{named} contradicts {}: allowed is --token-key with a key",
                asked.token_key.named()
            ))),
            None => Ok(()),
        };
    };
    let public = key_files.iter().find(|key_file| key_file.kind.is_public());
    match (public, &asked.token_audience.value) {
        (Some(key_file), None) => Err(Failure::contradiction(format!(
            "--token-key {key_file} ({}) contradicts --token-audience none ({}): allowed is an \
             audience, or each token that is made for others would be taken, too",
            asked.token_key.source.name(),
            asked.token_audience.source.name()
        ))),
        (Some(_) | None, _) => Ok(()),
    }
}

fn check_descriptors(asked: &Asked, machine: &Machine) -> Result<(), Failure> {
    let (connections, hard) = (asked.max_connections.value, machine.descriptors_hard);
    let descriptors_for =
        |connections| descriptors_for(connections, asked.admin_connections(machine));
    if hard < descriptors_for(1) {
        return Err(Failure::contradiction(format!(
            "the hard limit on descriptors (RLIMIT_NOFILE) is {hard}: allowed is {} or more, \
             which is one connection",
            descriptors_for(1)
        )));
    }
    if descriptors_for(connections) > hard {
        return Err(Failure::contradiction(format!(
            "{} needs {} descriptors, and the hard limit (RLIMIT_NOFILE) is {hard}: allowed \
             is {} or less",
            asked.max_connections.named(),
            descriptors_for(connections),
            hard.saturating_sub(descriptors_for(0))
        )));
    }
    Ok(())
}

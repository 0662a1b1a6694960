//! What each client address holds of sessions, channels and feeds, so that no address can take
//! everything.
//!
//! An address is remembered as a keyed hash of 64 bits; of an IPv6 address only the first half
//! counts, since a subscriber has a network of that size to choose from. There is an entry for an
//! address as long as it holds anything, so there are never more entries than sessions and feeds
//! together, which is what the memory ceiling counts.
//!
//! A channel or a feed counts for the address that *brought* it into being, as long as it lives,
//! whoever else has come since. The channel `default` and its feeds count for nobody.
//!
//! The surprise: a proxy has no share, since everybody behind it seems to have its address.

use core::hash::BuildHasher;
use core::net::IpAddr;
use std::collections::HashMap;

use super::HashKey;
use crate::limits::{ADDRESS_BYTES, Limits};

/// A client's address as a keyed hash; of an IPv6 address, its network of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address(u64);

impl Address {
    /// Which of so many buckets the address falls into.
    pub fn bucket(self, buckets: usize) -> usize {
        (self.0 % buckets as u64) as usize
    }
}

/// The account on which a client's sessions, channels and feeds are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The client's address, as its share is counted.
    pub address: Address,
    /// Whether the address stands for many clients, whose own addresses it does not tell.
    pub is_proxy: bool,
}

/// How much one address holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Share {
    sessions: u32,
    channels: u16,
    feeds: u16,
}

// An entry takes its own bytes and one of control. A table is at least seven sixteenths full when
// it has grown, and while it grows, the old one, half as large, is there as well.
const _: () =
    assert!(((size_of::<(Address, Share)>() + 1) * 24).div_ceil(7) <= ADDRESS_BYTES as usize);

/// How much every address holds, and how much an address may hold.
#[derive(Debug)]
pub struct Shares {
    held: HashMap<Address, Share, HashKey>,
    key: HashKey,
    sessions_max: u32,
    /// Whether the operator has set `sessions_max`, which then holds for proxies as well.
    is_asked: bool,
    channels_max: u16,
    feeds_max: u16,
}

impl Shares {
    /// Shares of which nothing is held yet. Addresses are hashed with `key`.
    pub fn new(limits: &Limits, key: HashKey) -> Shares {
        let most = |limit: usize| u16::try_from(limit).unwrap_or(u16::MAX);
        Shares {
            held: HashMap::with_hasher(key),
            key,
            sessions_max: u32::try_from(limits.sessions_per_address_max()).unwrap_or(u32::MAX),
            is_asked: limits.connections_per_ip_max.is_some(),
            channels_max: most(limits.channels_per_address_max()),
            feeds_max: most(limits.feeds_per_address_max()),
        }
    }

    /// The address `ip`, in its canonical form, as its share is counted.
    pub fn address(&self, ip: IpAddr) -> Address {
        let octets = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets[8..].fill(0);
                octets
            }
        };
        Address(self.key.hash_one(octets))
    }

    /// Whether one more session of `holder` would be too many.
    pub fn has_enough_sessions(&self, holder: Holder) -> bool {
        self.counts_sessions(holder) && self.share(holder).sessions >= self.sessions_max
    }

    /// Whether one more channel brought into being by `holder` would be too many.
    pub fn has_enough_channels(&self, holder: Holder) -> bool {
        !holder.is_proxy && self.share(holder).channels >= self.channels_max
    }

    /// Whether so many more feeds and logs brought into being by `holder` would be too many.
    pub fn has_enough_feeds(&self, holder: Holder, more: u16) -> bool {
        !holder.is_proxy && self.share(holder).feeds.saturating_add(more) > self.feeds_max
    }

    /// Counts a session of `holder` that begins.
    pub fn add_session(&mut self, holder: Holder) {
        if self.counts_sessions(holder) {
            self.held.entry(holder.address).or_default().sessions += 1;
        }
    }

    /// Takes a session of `holder` that is over off the count.
    pub fn remove_session(&mut self, holder: Holder) {
        if self.counts_sessions(holder) {
            self.reduce(holder.address, |share| share.sessions -= 1);
        }
    }

    /// Counts a channel that `holder` brings into being. Returns the address on whose account it
    /// is; `None` for a proxy.
    pub(super) fn add_channel(&mut self, holder: Holder) -> Option<Address> {
        let address = (!holder.is_proxy).then_some(holder.address)?;
        self.held.entry(address).or_default().channels += 1;
        Some(address)
    }

    /// Takes a channel that has gone off the account of `brought_by`.
    pub(super) fn remove_channel(&mut self, brought_by: Option<Address>) {
        let Some(address) = brought_by else { return };
        self.reduce(address, |share| share.channels -= 1);
    }

    /// Counts a feed that `holder` brings into being. Returns the address on whose account it is;
    /// `None` for a proxy.
    pub(super) fn add_feed(&mut self, holder: Holder) -> Option<Address> {
        let address = (!holder.is_proxy).then_some(holder.address)?;
        self.held.entry(address).or_default().feeds += 1;
        Some(address)
    }

    /// Takes a feed that has gone off the account of `brought_by`.
    pub(super) fn remove_feed(&mut self, brought_by: Option<Address>) {
        let Some(address) = brought_by else { return };
        self.reduce(address, |share| share.feeds -= 1);
    }

    /// How many addresses hold anything.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no address holds anything.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Asserts that all addresses together hold so many channels and feeds, for the hub's check.
    pub(super) fn check(&self, channels: usize, feeds: usize) {
        let sum = |of: fn(&Share) -> u16| self.held.values().map(of).map(usize::from).sum();
        let (channels_held, feeds_held): (usize, usize) =
            (sum(|share| share.channels), sum(|share| share.feeds));
        assert_eq!((channels_held, feeds_held), (channels, feeds));
        for share in self.held.values() {
            assert_ne!(*share, Share::default(), "it holds nothing");
            assert!(share.sessions <= self.sessions_max && share.channels <= self.channels_max);
            assert!(share.feeds <= self.feeds_max);
        }
    }

    /// How many sessions are on the account of any address.
    pub fn sessions(&self) -> usize {
        self.held.values().map(|share| share.sessions as usize).sum()
    }

    /// Whether sessions of `holder` are counted: not those of a proxy, unless the operator has set
    /// a limit.
    pub fn counts_sessions(&self, holder: Holder) -> bool {
        self.is_asked || !holder.is_proxy
    }

    fn share(&self, holder: Holder) -> Share {
        self.held.get(&holder.address).copied().unwrap_or_default()
    }

    /// Reduces what an address holds, and forgets the address if nothing is left.
    fn reduce(&mut self, address: Address, reduce: impl FnOnce(&mut Share)) {
        let share = self.held.get_mut(&address).expect("it holds what it gives back");
        reduce(share);
        if *share == Share::default() {
            self.held.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn shares(connections_per_ip_max: Option<usize>) -> Shares {
        let limits = Limits {
            connections_max: 12,
            connections_per_ip_max,
            admin_connections_max: 0,
            channels_max: 8,
            message_bytes_max: 256,
            feed_bytes: 1024,
            // The channel `default` has 5 of these 21 feeds.
            memory_bytes: 21 * Limits::feed_cost_bytes(1024, None),
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            history: None,
            shared: false,
            message_rate: None,
            lifetime: None,
        };
        Shares::new(&limits, HashKey([7; 16]))
    }

    fn holder(shares: &Shares, ip: &str) -> Holder {
        Holder { address: shares.address(ip.parse().unwrap()), is_proxy: false }
    }

    #[test]
    fn an_address_has_a_quarter() {
        let mut shares = shares(None);
        let (one, other) = (holder(&shares, "192.0.2.1"), holder(&shares, "192.0.2.2"));
        let mut brought = Vec::new();
        while !shares.has_enough_sessions(one) {
            shares.add_session(one);
        }
        while !shares.has_enough_channels(one) {
            brought.push((shares.add_channel(one), None));
        }
        while !shares.has_enough_feeds(one, 1) {
            brought.push((None, shares.add_feed(one)));
        }
        assert_eq!((shares.sessions(), brought.len()), (3, 2 + 4));
        assert!(!shares.has_enough_sessions(other) && !shares.has_enough_channels(other));
        assert_eq!(shares.len(), 1);
        shares.check(2, 4);
        for (channel, feed) in brought {
            shares.remove_channel(channel);
            shares.remove_feed(feed);
        }
        assert_eq!(shares.len(), 1);
        (0..3).for_each(|_| shares.remove_session(one));
        assert!(shares.is_empty());
    }

    #[test]
    fn a_proxy_has_no_share_but_what_the_operator_says_holds_for_it() {
        for (asked, is_counted) in [(None, false), (Some(2), true)] {
            let mut shares = shares(asked);
            let proxy = Holder { is_proxy: true, ..holder(&shares, "10.0.0.1") };
            (0..20).for_each(|_| shares.add_session(proxy));
            assert_eq!(shares.has_enough_sessions(proxy), is_counted);
            assert_eq!((shares.add_channel(proxy), shares.add_feed(proxy)), (None, None));
            assert_eq!(shares.sessions(), if is_counted { 20 } else { 0 });
            (0..20).for_each(|_| shares.remove_session(proxy));
            assert!(shares.is_empty());
        }
    }

    #[test]
    fn networks_of_64_bits_are_one_address() {
        let shares = shares(None);
        let address = |ip: &str| holder(&shares, ip).address;
        assert_eq!(address("2001:db8::1"), address("2001:db8:0:0:ffff::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_ne!(address("::1"), address("0.0.0.1"));
    }
}

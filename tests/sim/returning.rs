//! How clients of Socket.IO come back: what they remember of a namespace, and what they say of that
//! in CONNECT (connection state recovery).
//!
//! A client that comes back is a new person, with new connections from the address of the one
//! before. It knows the `pid` that it was given and the offset of the last event that it has taken,
//! whatever carried that. Mostly it says just that; now and then what another client could say, or
//! what no client would: the server must believe what it has once said, and nothing else.

use super::climate::Dice;
use super::wish::Wish;

/// A place up to which a client has taken everything in a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct At {
    /// The life of the channel.
    pub(crate) life: usize,
    /// The number of the last message that it has taken, or [`UNKNOWN`].
    pub(crate) number: u64,
    /// The position of that message, as the client was told it.
    pub(crate) offset: String,
}

/// The number of what a client only guesses: how many messages there are between two places in a
/// stream is not to be seen.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// What a client knows of a namespace.
#[derive(Clone, Default, Debug)]
pub(crate) struct Known {
    /// The id by which it may come back.
    pub(crate) pid: Option<String>,
    /// How far it was told everything; `None` before it was told anything.
    pub(crate) at: Option<At>,
    /// Where it begins if what it has said in CONNECT is honoured.
    pub(crate) asked: Option<At>,
    /// The session goes on behind a place that it has only guessed, before it was told any.
    pub(crate) guessed: bool,
}

/// What a CONNECT says of the session that there was, as it must be read.
#[derive(Clone, Default, Debug)]
pub(crate) struct Returning {
    pub(crate) pid: String,
    pub(crate) wish: Wish,
}

/// An id that has the form of one, and that no client was ever given.
const STRANGER: &str = "AAAA-bbbb_CCCC-dddd0";

/// Values that are no offset, though they stand where one would.
const NO_OFFSETS: [&str; 6] =
    ["\"\"", "7", "null", "[\"k3f9.1\"]", "\"k3f9\\u002e1\"", "{\"offset\":\"k3f9.1\"}"];

/// Values that are no id.
const NO_PIDS: [&str; 5] =
    ["\"x\"", "7", "\"\"", "\"AAAA.bbbb_CCCC-dddd0\"", "{\"pid\":\"AAAA-bbbb_CCCC-dddd0\"}"];

/// Offsets of other servers, and such as this one does not write.
const FOREIGN: [&str; 5] = ["0-0.0", "zzz.3", "Q82qQ18", "0.0", "k3f9.016"];

/// What somebody says who knows so much: the members of the object in CONNECT, and how they must be
/// read, `None` if as nothing. A session that has `left` a namespace goes on nowhere.
pub(crate) fn draw(
    dice: &mut Dice,
    known: &mut Known,
    has_left: bool,
) -> (Vec<String>, Option<Returning>) {
    let own = known.at.clone();
    let is_stranger = known.pid.is_none() || dice.chance(50);
    let pid = known.pid.clone().filter(|_| !is_stranger).unwrap_or(STRANGER.to_owned());
    let (mut said_pid, mut is_pid) = (format!("\"{pid}\""), true);
    if dice.chance(40) {
        (said_pid, is_pid) = (dice.pick(&NO_PIDS).to_owned(), false);
    }
    let offset = match dice.below(20) {
        0 => None,
        1 => Some(dice.pick(&FOREIGN).to_owned()),
        // One before or behind its own, of which it does not know whether there is one.
        2 | 3 => own.as_ref().map(|at| beside(dice, at)),
        _ => own.as_ref().map(|at| at.offset.clone()),
    };
    let mut members = vec![format!("\"pid\":{said_pid}")];
    members.extend(offset.as_ref().map(|offset| format!("\"offset\":\"{offset}\"")));
    let mut since = offset;
    if dice.chance(40) {
        // Of two the last counts, be it no offset.
        members.push(format!("\"offset\":{}", dice.pick(&NO_OFFSETS)));
        since = None;
    }
    if dice.chance(200) {
        let place = dice.below(members.len() as u64 + 1) as usize;
        members.insert(place, "\"a\":[1]".to_owned());
    }
    known.asked = since.as_deref().zip(own.as_ref()).map(|(since, own)| {
        let number = match since.split_once('.') {
            _ if since == own.offset => Some(own.number),
            Some((epoch, _)) if epoch.contains('-') => None,
            Some((_, number)) => Some(number.parse().unwrap_or(0)),
            None => Some(0),
        };
        At { life: own.life, number: number.unwrap_or(UNKNOWN), offset: since.to_owned() }
    });
    let is_own = own.is_some_and(|at| Some(&at.offset) == since.as_ref());
    let wish = Wish { since, is_own, ..Wish::default() };
    (members, (is_pid && !has_left).then_some(Returning { pid, wish }))
}

/// A position near another in its epoch.
fn beside(dice: &mut Dice, at: &At) -> String {
    let (epoch, number) = at.offset.split_once('.').expect("an offset has an epoch");
    let number: u64 = number.parse().expect("a number stands behind the epoch");
    format!("{epoch}.{}", (number + dice.below(12)).saturating_sub(8))
}

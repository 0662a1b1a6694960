//! What many seeds have come to, in words and in a file.
//!
//! The long run keeps its tally in cargo's target folder: lines of a name and a number, so that it
//! goes on where it stopped and can tell what all of its parts add up to.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::attack::Attack;
use super::oracle::Return;
use super::pass::Expiry;
use super::world::Outcome;

/// Numbers that are no attackers.
const PLAIN: usize = 17;
const NUMBERS: usize = PLAIN + Attack::ALL.len() + Return::ALL.len() + Expiry::ALL.len();

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    /// The first that was not run.
    pub(crate) next_seed: u64,
    pub(crate) ran_ms: u64,
    turns: u64,
    acts: u64,
    calls: u64,
    events: u64,
    connections: u64,
    sessions: u64,
    upgrades: u64,
    published: u64,
    delivered: u64,
    told: u64,
    /// Attackers that acted, by kind.
    pub(crate) attacked: [u64; Attack::ALL.len()],
    /// Clients that wanted what was said before they came, by what became of their wish.
    pub(crate) returned: [u64; Return::ALL.len()],
    /// Tokens that have expired, by the phase of what they had let in.
    pub(crate) expired: [u64; Expiry::ALL.len()],
    /// Where the order is decided elsewhere: channels that were opened with what was kept of them,
    /// newcomers that waited for one in vain, and gaps.
    pub(crate) ordered: [u64; 3],
    /// Ends by reason.
    pub(crate) reasons: u64,
    pub(crate) failed: Vec<u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.turns += outcome.turns;
        self.acts += outcome.acts;
        self.calls += outcome.calls;
        self.events += outcome.events;
        self.connections += outcome.connections;
        self.sessions += outcome.sessions;
        self.upgrades += outcome.upgrades;
        self.published += outcome.published;
        self.delivered += outcome.delivered;
        self.told += outcome.told;
        self.attacked.iter_mut().zip(outcome.attacked).for_each(|(sum, number)| *sum += number);
        self.returned.iter_mut().zip(outcome.returned).for_each(|(sum, number)| *sum += number);
        self.expired.iter_mut().zip(outcome.expired).for_each(|(sum, number)| *sum += number);
        self.ordered.iter_mut().zip(outcome.ordered).for_each(|(sum, number)| *sum += number);
        self.reasons |= u64::from(outcome.reasons);
    }

    /// What another part has come to, behind this one.
    pub(crate) fn add(&mut self, part: Tally) {
        let reasons = self.reasons | part.reasons;
        for ((_, sum), (_, number)) in self.numbers_mut().into_iter().zip(part.numbers()) {
            *sum += number;
        }
        self.reasons = reasons;
        self.next_seed = part.next_seed;
        self.failed.extend(part.failed);
    }

    /// Everything that has happened: what clients did, what the server did with its sockets, what
    /// it reported, and its turns.
    fn steps(&self) -> u64 {
        self.turns + self.acts + self.calls + self.events
    }

    /// One line of all parts of the long run.
    pub(crate) fn in_all(&self) -> String {
        let hours = self.ran_ms as f64 / 3_600_000.0;
        let (seeds, steps, failures) = (self.seeds, self.steps(), self.failed.len());
        let (published, delivered) = (self.published, self.delivered);
        format!(
            "in all: {seeds} seeds, {steps} events ({published} messages published, {delivered} \
             delivered), {hours:.2} hours, {failures} failures"
        )
    }

    /// How far the long run has come.
    pub(crate) fn load() -> Tally {
        let mut tally = Tally::default();
        let Ok(text) = fs::read_to_string(path()) else { return tally };
        for line in text.lines() {
            let (name, value) = line.split_once(' ').expect("a name and a number");
            let value = value.parse().expect("a name and a number");
            if name == "failed" {
                tally.failed.push(value);
            } else {
                let numbers = tally.numbers_mut();
                let known = numbers.into_iter().find(|(known, _)| *known == name);
                *known.expect("a name that was written").1 = value;
            }
        }
        tally
    }

    /// Notes how far it has come; whole or not at all, whenever it is stopped.
    pub(crate) fn save(&self) {
        let failed = self.failed.iter().map(|seed| ("failed", *seed));
        let lines = self.numbers().into_iter().chain(failed);
        let text: String = lines.map(|(name, number)| format!("{name} {number}\n")).collect();
        let path = path();
        let beside = path.with_extension("new");
        fs::write(&beside, text).expect("cargo's target folder can be written to");
        fs::rename(beside, path).expect("cargo's target folder can be written to");
    }

    fn numbers(&self) -> [(&'static str, u64); NUMBERS] {
        self.clone().numbers_mut().map(|(name, number)| (name, *number))
    }

    fn numbers_mut(&mut self) -> [(&'static str, &mut u64); NUMBERS] {
        let [brought, unopened, gaps] = &mut self.ordered;
        let plain: [_; PLAIN] = [
            ("seeds", &mut self.seeds),
            ("next_seed", &mut self.next_seed),
            ("ran_ms", &mut self.ran_ms),
            ("turns", &mut self.turns),
            ("acts", &mut self.acts),
            ("calls", &mut self.calls),
            ("events", &mut self.events),
            ("connections", &mut self.connections),
            ("sessions", &mut self.sessions),
            ("upgrades", &mut self.upgrades),
            ("published", &mut self.published),
            ("delivered", &mut self.delivered),
            ("told", &mut self.told),
            ("brought", brought),
            ("unopened", unopened),
            ("gaps", gaps),
            ("reasons", &mut self.reasons),
        ];
        let names = Attack::ALL.map(Attack::name);
        let attacked = names.into_iter().zip(&mut self.attacked);
        let returned = Return::ALL.map(Return::name).into_iter().zip(&mut self.returned);
        let expired = Expiry::ALL.map(Expiry::name).into_iter().zip(&mut self.expired);
        let mut all = plain.into_iter().chain(attacked).chain(returned).chain(expired);
        std::array::from_fn(|_| all.next().expect("there are so many"))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { turns, acts, calls, events, connections, sessions, upgrades, .. } = self;
        let Tally { published, delivered, told, .. } = self;
        write!(
            f,
            "{} events ({turns} turns, {acts} acts of clients, {calls} socket calls, {events} \
             reports), {connections} connections, {sessions} Socket.IO sessions ({upgrades} \
             upgraded), {published} messages published, {delivered} delivered ({told} to \
             Socket.IO)",
            self.steps()
        )?;
        f.write_str("; attackers that acted:")?;
        for (attack, count) in Attack::ALL.into_iter().zip(self.attacked) {
            write!(f, " {attack:?} {count}")?;
        }
        f.write_str("; those who wanted what was said before:")?;
        for (what, count) in Return::ALL.into_iter().zip(self.returned) {
            write!(f, " {what:?} {count}")?;
        }
        f.write_str("; tokens that have expired:")?;
        for (phase, count) in Expiry::ALL.into_iter().zip(self.expired) {
            write!(f, " {phase:?} {count}")?;
        }
        let [brought, unopened, gaps] = self.ordered;
        write!(f, "; channels brought {brought}, waited for in vain {unopened}, gaps {gaps}")
    }
}

/// Where the long run notes how far it has come.
fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("long-sim")
}

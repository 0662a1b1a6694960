//! Sends the attackers of the climate, and those who ask meanwhile whether the server is alive.
//!
//! Whoever ends is replaced by another of the kind, also while the server takes leave; in the calm
//! nobody attacks.

use super::World;
use crate::attack::{Attack, Mob};
use crate::client::Client;
use crate::person::Person;
use crate::socket::Link;

/// Attackers that come in a turn.
const ARRIVALS: u64 = 8;
/// Attackers and probes of a whole run.
const ATTACKERS_MAX: usize = 450;
/// Chance per mille of a probe, each turn.
const PROBES: u64 = 100;

impl World {
    /// Brings the attackers of this turn.
    pub(super) fn besiege(&mut self) {
        let attacks = &self.climate.attacks;
        if attacks.mobs.is_empty() || self.quiet || self.turns < attacks.first_turn {
            return;
        }
        for place in 0..self.climate.attacks.mobs.len() {
            let Mob { attack, size } = self.climate.attacks.mobs[place];
            let missing = size.saturating_sub(self.attackers(attack));
            for _ in 0..missing.min(ARRIVALS) {
                self.send_attacker(attack);
            }
        }
        if self.dice.chance(PROBES) && self.may_send() {
            self.attackers += 1;
            let number = self.clients.len();
            let link = Link::new(number, &self.net);
            let client = Client::prober(number, link, &mut self.scene());
            self.introduce(client);
        }
    }

    fn may_send(&self) -> bool {
        self.attackers < ATTACKERS_MAX && self.clients.len() < 1000
    }

    /// How many of a kind there are.
    fn attackers(&self, attack: Attack) -> u64 {
        let are = if attack.is_person() {
            let people = self.people.iter();
            people.filter(|person| person.attack == Some(attack) && !person.over).count()
        } else {
            let lives = |client: &&Client| client.ended.is_none() && !client.gone;
            let clients = self.clients.iter().filter(lives);
            clients.filter(|client| client.attack == Some(attack)).count()
        };
        are as u64
    }

    fn send_attacker(&mut self, attack: Attack) {
        if !self.may_send() {
            return;
        }
        self.attackers += 1;
        if attack.is_person() {
            let number = self.people.len();
            let pass = self.pass_of_attacker();
            let mut person = Person::attacker(number, &mut self.scene(), attack);
            person.pass = pass;
            self.people.push(person);
            self.act_as(number);
            return;
        }
        let number = self.clients.len();
        let link = Link::new(number, &self.net);
        let pass = self.pass_of_attacker();
        let client = Client::attacker(number, link, &mut self.scene(), (attack, pass));
        self.introduce(client);
    }

    /// How many of each kind have done what they came for.
    pub(super) fn attacked(&self) -> [u64; Attack::ALL.len()] {
        Attack::ALL.map(|attack| {
            let clients = self.clients.iter().filter(|client| client.has_attacked);
            let people = self.people.iter().filter(|person| person.has_attacked);
            let clients = clients.filter(|client| client.attack == Some(attack)).count();
            (clients + people.filter(|person| person.attack == Some(attack)).count()) as u64
        })
    }
}

//! How many requests were answered with each status code.
//!
//! A counter stands ready for every code that HTTP can have (RFC 9110 §15), so that counting is an
//! addition, and a code that is new needs no entry in a list.

/// The lowest status code.
const FIRST: u16 = 100;
/// How many status codes there can be.
const COUNT: usize = 500;

/// Answers, by status code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Codes([u64; COUNT]);

impl Default for Codes {
    fn default() -> Codes {
        Codes([0; COUNT])
    }
}

impl Codes {
    /// Counts an answer.
    ///
    /// # Panics
    /// If the status code is not between 100 and 599.
    pub fn count(&mut self, status: u16) {
        self.0[usize::from(status - FIRST)] += 1;
    }

    /// All answers together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The status codes that were ever answered with, rising, and how often each was.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        (FIRST..).zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_counter_of_its_own() {
        let mut codes = Codes::default();
        for status in [599, 100, 404, 404] {
            codes.count(status);
        }
        assert_eq!(codes.iter().collect::<Vec<_>>(), [(100, 1), (404, 2), (599, 1)]);
        assert_eq!(codes.total(), 4);
    }
}

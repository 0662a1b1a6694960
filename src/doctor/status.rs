//! A status as it comes from a server, by what is asked of it.
//!
//! Keys may be added to a status, and none goes; a key that is not there counts as 0. So a program
//! can ask an older or a newer server, as long as both mean the same version of the keys.

use serde_json::Value;

use crate::text::{visible, visible_json};

/// The version of the keys that is understood.
const VERSION: u64 = 1;

/// The longest time that is believed, in seconds: some 30,000 years.
const SECONDS_MAX: f64 = 1e12;

/// A status.
#[derive(Debug)]
pub(super) struct Status(Value);

impl Status {
    /// Reads a status.
    ///
    /// # Errors
    /// Why this is none, or one of another version.
    pub(super) fn read(bytes: &[u8]) -> Result<Status, String> {
        let status: Value =
            serde_json::from_slice(bytes).map_err(|_| "answers no JSON".to_owned())?;
        match status["version"].as_u64() {
            Some(VERSION) => Ok(Status(status)),
            Some(other) => {
                Err(format!("has a status of version {other}: this elbow knows {VERSION}"))
            }
            None => Err("answers with JSON that is no status".to_owned()),
        }
    }

    /// The value at the end of a path of keys.
    fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.0, |value, key| &value[*key])
    }

    /// A count; 0 if it is not there.
    pub(super) fn count(&self, path: &[&str]) -> u64 {
        self.at(path).as_u64().unwrap_or(0)
    }

    /// A length of time in seconds, from 0 to [`SECONDS_MAX`]; 0 if it is not there.
    pub(super) fn seconds(&self, path: &[&str]) -> f64 {
        self.at(path).as_f64().unwrap_or(0.0).clamp(0.0, SECONDS_MAX)
    }

    /// What runs, in words.
    pub(super) fn build(&self) -> String {
        let version = self.at(&["build", "version"]).as_str().unwrap_or("?");
        format!("elbow {}", visible(version))
    }

    /// How long it has run, in words.
    pub(super) fn uptime(&self) -> String {
        // At most SECONDS_MAX.
        let seconds = self.seconds(&["uptime"]) as u64;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, _) => format!("{minutes} min"),
            (0, _, _) => format!("{hours} h {minutes} min"),
            (_, _, _) => format!("{days} d {hours} h"),
        }
    }

    /// What is wrong: the name, the text and the remedy of each finding.
    ///
    /// # Errors
    /// If the list is not there, so that nothing may be said.
    pub(super) fn findings(&self) -> Result<Vec<(&str, &str, &str)>, String> {
        let list = self.at(&["findings"]).as_array();
        let list = list.ok_or_else(|| "has a status without findings".to_owned())?;
        let row = |finding| (text(finding, "id"), text(finding, "text"), text(finding, "remedy"));
        Ok(list.iter().map(row).collect())
    }

    /// The list of what is wrong, in one line of JSON that means what came.
    pub(super) fn findings_json(&self) -> String {
        visible_json(&self.at(&["findings"]).to_string()).to_string()
    }

    /// All counts of an object by their names, the largest first.
    pub(super) fn counts(&self, path: &[&str]) -> Vec<(&str, u64)> {
        let object = self.at(path).as_object();
        let counts = object.into_iter().flatten();
        let mut counts: Vec<_> =
            counts.filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?))).collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        counts
    }

    /// The channels that are shown: name, members and the largest lag in bytes of each.
    pub(super) fn channels(&self) -> Vec<(&str, u64, u64)> {
        let list = self.at(&["channels"]).as_array();
        let list = list.into_iter().flatten();
        list.map(|channel| {
            let members = channel["members"].as_object().into_iter().flatten();
            let members = members.filter_map(|(_, count)| count.as_u64());
            let members = members.fold(0, u64::saturating_add);
            (text(channel, "name"), members, channel["lag"]["max"].as_u64().unwrap_or(0))
        })
        .collect()
    }

    /// The buckets of a histogram: a bound in seconds, from 0 to [`SECONDS_MAX`], and how many
    /// times were shorter.
    pub(super) fn buckets(&self, name: &str) -> Vec<(f64, u64)> {
        let list = self.at(&[name, "buckets"]).as_array().into_iter().flatten();
        let bound = |bound: &Value| Some(bound.as_f64()?.clamp(0.0, SECONDS_MAX));
        list.filter_map(|pair| Some((bound(&pair[0])?, pair[1].as_u64()?))).collect()
    }
}

/// A text in an object; empty if it is not there.
fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_status_of_this_version_is_refused() {
        let refused = |text: &str| Status::read(text.as_bytes()).err();
        assert_eq!(refused("<html>"), Some("answers no JSON".into()));
        assert_eq!(refused("[1]"), Some("answers with JSON that is no status".into()));
        assert_eq!(
            refused(r#"{"version":2}"#),
            Some("has a status of version 2: this elbow knows 1".into())
        );
        let bare = Status::read(br#"{"version":1}"#).expect("a status");
        assert!(bare.findings().is_err(), "nothing wrong is not the same as nothing said");
        assert_eq!((bare.count(&["a", "b"]), bare.uptime()), (0, "0 s".into()));
        assert!(bare.channels().is_empty() && bare.buckets("turn").is_empty());
    }

    #[test]
    fn a_time_is_told_by_its_two_largest_units() {
        for (seconds, words) in
            [(59, "59 s"), (60, "1 min"), (3_661, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            let status = format!(r#"{{"version":1,"uptime":{seconds}.5}}"#);
            let status = Status::read(status.as_bytes()).expect("a status");
            assert_eq!(status.uptime(), words);
        }
    }
}

//! What every kind of value is: from the text that an operator types to a value, and back.
//!
//! A kind refuses a text with a sentence that says what is allowed; whoever asked puts the option's
//! name and the offending text in front. Here are the kinds made of other kinds: lists, words,
//! values that may be off or missing. Numbers, lengths, addresses and names are in `value.rs`. No
//! kind knows any option by name.
//!
//! The surprise: a missing value has no text. An option without a default holds `None` until
//! somebody gives a text, and then the text must be a value; there is nothing to type for `None`.

use super::failure::quoted;

/// Most items in one list. A list is walked for each connection that it decides about.
const ITEMS_MAX: usize = 256;

/// How a text becomes a value of an option, and how that value is shown.
pub(super) trait Kind<T>: Sync {
    /// Reads a text without blanks around it.
    ///
    /// # Errors
    /// A sentence that says what is allowed, if `text` is no such value or out of bounds.
    fn parse(&self, text: &str) -> Result<T, String>;

    /// A value as `elbow check` shows it: what may be typed for it, foreign characters escaped.
    /// Empty for a value that is missing.
    fn text(&self, value: &T) -> String;

    /// What holds when nobody gave a text and the option has no default; `None` for kinds whose
    /// options must have one.
    fn missing(&self) -> Option<T> {
        None
    }
}

/// A value that is missing until somebody gives it.
pub(super) struct IfGiven<K>(pub(super) K);

impl<T, K: Kind<T>> Kind<Option<T>> for IfGiven<K> {
    fn parse(&self, text: &str) -> Result<Option<T>, String> {
        self.0.parse(text).map(Some)
    }

    fn text(&self, value: &Option<T>) -> String {
        value.as_ref().map_or_else(String::new, |value| self.0.text(value))
    }

    fn missing(&self) -> Option<Option<T>> {
        Some(None)
    }
}

/// A value, or the word `off` in any case, which is `None`.
pub(super) struct OrOff<K>(pub(super) K);

impl<T, K: Kind<T>> Kind<Option<T>> for OrOff<K> {
    fn parse(&self, text: &str) -> Result<Option<T>, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(None);
        }
        self.0.parse(text).map(Some).map_err(|allowed| format!("{allowed}, or off"))
    }

    fn text(&self, value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| "off".to_owned(), |value| self.0.text(value))
    }
}

/// A number above zero, or `off` in any case or `0`, which both are `None`.
pub(super) struct NoneIfZero<K>(pub(super) K);

impl<T, K: Kind<T>> Kind<Option<T>> for NoneIfZero<K> {
    fn parse(&self, text: &str) -> Result<Option<T>, String> {
        if text.eq_ignore_ascii_case("off")
            || (!text.is_empty() && text.trim_matches('0').is_empty())
        {
            return Ok(None);
        }
        self.0.parse(text).map(Some).map_err(|allowed| format!("{allowed}, or off"))
    }

    fn text(&self, value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| "off".to_owned(), |value| self.0.text(value))
    }
}

/// One of a few words, read in any case, shown as they are written here.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq + Sync> Kind<T> for OneOf<T> {
    fn parse(&self, text: &str) -> Result<T, String> {
        let found = self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            format!("allowed is one of {}", words.join(", "))
        })
    }

    fn text(&self, value: &T) -> String {
        let found = self.0.iter().find(|(_, known)| known == value);
        let (word, _) = found.expect("a value that was read has its word");
        (*word).to_owned()
    }
}

/// Items between commas, blanks around them ignored: at least one, and at most as many as the
/// number says. A text that is refused for one of several items names that item.
pub(super) struct List<K> {
    /// How each item is read and shown.
    item: K,
    items_max: usize,
}

impl<K> List<K> {
    /// A list of as many items as any list may have, which is 256.
    pub(super) const fn of(item: K) -> List<K> {
        List { item, items_max: ITEMS_MAX }
    }

    /// A list of at most `items_max` items.
    pub(super) const fn of_at_most(items_max: usize, item: K) -> List<K> {
        assert!(items_max <= ITEMS_MAX, "no list is longer");
        List { item, items_max }
    }
}

impl<T, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn parse(&self, text: &str) -> Result<Vec<T>, String> {
        let several = text.contains(',');
        if text.split(',').count() > self.items_max {
            return Err(format!("allowed are at most {} items", self.items_max));
        }
        let parsed = text.split(',').map(|text| {
            let text = text.trim();
            self.item.parse(text).map_err(|allowed| match several {
                true => format!("{}: {allowed}", quoted(text)),
                false => allowed,
            })
        });
        parsed.collect()
    }

    fn text(&self, items: &Vec<T>) -> String {
        items.iter().map(|item| self.item.text(item)).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digit from 1 to 9.
    struct Digit;

    impl Kind<u32> for Digit {
        fn parse(&self, text: &str) -> Result<u32, String> {
            let digit = text.parse().ok().filter(|digit| (1..=9).contains(digit));
            digit.ok_or_else(|| "allowed is a digit".to_owned())
        }

        fn text(&self, value: &u32) -> String {
            value.to_string()
        }
    }

    #[test]
    fn a_list_names_the_item_that_is_wrong() {
        let list = List::of_at_most(3, Digit);
        assert_eq!(list.parse("1, 2 ,3"), Ok(vec![1, 2, 3]));
        assert_eq!(list.parse("x"), Err("allowed is a digit".to_owned()));
        assert_eq!(list.parse("1,x"), Err("\"x\": allowed is a digit".to_owned()));
        assert!(list.parse("1,").is_err());
        assert_eq!(list.parse("1,2,3,4"), Err("allowed are at most 3 items".to_owned()));
        assert_eq!(list.text(&vec![1, 2, 3]), "1,2,3");
    }

    #[test]
    fn no_list_is_longer_than_256_items() {
        let items = |count| vec!["1"; count].join(",");
        assert_eq!(List::of(Digit).parse(&items(256)).map(|list| list.len()), Ok(256));
        let refused = Err("allowed are at most 256 items".to_owned());
        assert_eq!(List::of(Digit).parse(&items(257)), refused);
    }

    #[test]
    fn off_is_a_word_that_comes_back() {
        let limit = OrOff(Digit);
        assert_eq!((limit.parse("OFF"), limit.parse("3")), (Ok(None), Ok(Some(3))));
        assert_eq!((limit.text(&None), limit.text(&Some(3))), ("off".into(), "3".into()));
        assert_eq!(limit.parse("0"), Err("allowed is a digit, or off".to_owned()));
    }

    #[test]
    fn zero_is_off_where_it_means_none() {
        let limit = NoneIfZero(Digit);
        assert_eq!(
            ["Off", "0", "00", "3"].map(|text| limit.parse(text)),
            [Ok(None), Ok(None), Ok(None), Ok(Some(3))]
        );
        assert_eq!((limit.text(&None), limit.text(&Some(3))), ("off".into(), "3".into()));
        assert_eq!(limit.parse("-1"), Err("allowed is a digit, or off".to_owned()));
        assert!(limit.parse("").is_err());
    }

    #[test]
    fn only_what_need_not_be_given_can_be_missing() {
        assert_eq!(IfGiven(Digit).missing(), Some(None));
        assert_eq!(IfGiven(Digit).parse("4"), Ok(Some(4)));
        assert!(IfGiven(Digit).parse("").is_err());
        assert_eq!(OrOff(Digit).missing(), None);
        assert_eq!(Digit.missing(), None);
    }

    #[test]
    fn a_word_is_read_in_any_case_and_shown_as_it_is_written() {
        let words = OneOf(&[("no", false), ("yes", true)]);
        assert_eq!((words.parse("Yes"), words.parse("NO")), (Ok(true), Ok(false)));
        assert_eq!(words.text(&true), "yes");
        assert_eq!(words.parse(""), Err("allowed is one of no, yes".to_owned()));
    }
}

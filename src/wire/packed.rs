//! Bytes that are packed when the program is built and unpacked when it starts: the files of its own
//! pages, which are text and take a third of their length so.
//!
//! What was there before is written as a distance and a length, everything else as it is, bit by
//! bit, the highest bit of a byte first:
//!
//! ```text
//!   0 bbbbbbbb           a byte
//!   1 length distance    so many of the bytes that begin so far back
//!
//!   length      length - 2 (1 or more): for each bit below its highest a 0, then itself
//!   distance    1 to 65,535: in 4 bits how many there are below its highest, then these
//! ```
//!
//! That is as short as deflate makes the same files, whose decoder would be longer than what it
//! saves.
//!
//! The surprise: all the work is in packing, which build.rs does. It knows every way to say the rest
//! of the bytes and takes the shortest, so it is slow; unpacking takes microseconds.

/// Bytes that a repeat has at least.
const REPEAT_MIN: usize = 3;
/// Bytes that a repeat has at most, so that looking for them comes to an end.
const REPEAT_MAX: usize = 256;
/// The farthest distance.
const DISTANCE_MAX: usize = u16::MAX as usize;
/// Earlier places that are looked at for a repeat, the nearest first.
const TRIES_MAX: usize = 64;

/// What was written to, bit by bit.
#[derive(Debug, Default)]
struct Writer {
    bytes: Vec<u8>,
    /// How many bits of the last byte are in use; 0 and 8 mean that there is none left.
    used: u32,
}

impl Writer {
    /// Writes the lowest `count` bits of `value`.
    fn put(&mut self, value: usize, count: u32) {
        for place in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
                self.used = 0;
            }
            let bit = (value >> place & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used);
            }
            self.used += 1;
        }
    }
}

/// A part of the bytes: one of them, or a repeat of `length` bytes from `distance` before.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    length: usize,
    distance: usize,
}

impl Part {
    /// How many bits it takes to say this part.
    fn bits(self) -> u32 {
        match self.length {
            1 => 9,
            length => 1 + 2 * (length - 2).ilog2() + 1 + 4 + self.distance.ilog2(),
        }
    }
}

/// Packs `bytes`, at most 4 GiB, in the fewest bits. Slow: for the build alone.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let repeats = repeats(bytes);
    // How many bits say everything from a place on, and with which part that begins.
    let mut cheapest = vec![(0_u32, Part::default()); bytes.len() + 1];
    for at in (0..bytes.len()).rev() {
        let literal = Part { length: 1, distance: 0 };
        let lengths = repeats[at]
            .iter()
            .flat_map(|found| (REPEAT_MIN..=found.length).map(|length| Part { length, ..*found }));
        let ways = core::iter::once(literal).chain(lengths);
        let ways = ways.map(|part| (part.bits() + cheapest[at + part.length].0, part));
        cheapest[at] = ways.min_by_key(|(bits, _)| *bits).expect("a byte is a way");
    }
    let (mut out, mut at) = (Writer::default(), 0);
    while at < bytes.len() {
        let Part { length, distance } = cheapest[at].1;
        if length == 1 {
            out.put(usize::from(bytes[at]), 9);
        } else {
            let (bits, below) = ((length - 2).ilog2(), distance.ilog2());
            out.put(1, 1);
            out.put(0, bits);
            out.put(length - 2, bits + 1);
            out.put(below as usize, 4);
            out.put(distance, below);
        }
        at += length;
    }
    out.bytes
}

/// The repeats that begin at each place, the nearest first; each is longer than those nearer.
fn repeats(bytes: &[u8]) -> Vec<Vec<Part>> {
    let mut seen = std::collections::BTreeMap::<&[u8], Vec<usize>>::new();
    let mut all = Vec::with_capacity(bytes.len());
    for at in 0..bytes.len() {
        let mut found: Vec<Part> = Vec::new();
        if let Some(begin) = bytes.get(at..at + REPEAT_MIN) {
            let earlier = seen.entry(begin).or_default();
            for place in earlier.iter().rev().take(TRIES_MAX) {
                let alike = bytes[at..].iter().zip(&bytes[*place..]).take(REPEAT_MAX);
                let length = alike.take_while(|(one, other)| one == other).count();
                let distance = at - place;
                let longest = found.last().map_or(REPEAT_MIN - 1, |part| part.length);
                if length > longest && distance <= DISTANCE_MAX {
                    found.push(Part { length, distance });
                }
            }
            earlier.push(at);
        }
        all.push(found);
    }
    all
}

/// What is read from, bit by bit.
#[derive(Debug)]
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn bit(&mut self) -> Option<usize> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(usize::from(bit))
    }

    /// Reads `count` bits below those of `value`.
    fn more(&mut self, value: usize, count: usize) -> Option<usize> {
        (0..count).try_fold(value, |value, _| Some(value << 1 | self.bit()?))
    }

    /// Reads a number of 1 or more, in front of which stands a 0 for each bit below its highest.
    fn number(&mut self) -> Option<usize> {
        let mut below = 0;
        while self.bit()? == 0 {
            below += 1;
        }
        // No length has more bits; nothing is shifted out.
        if below > REPEAT_MAX.ilog2() as usize { None } else { self.more(1, below) }
    }
}

/// Unpacks what [`pack`] has packed, which were `length` bytes. `None` for what it cannot have
/// packed.
pub fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bits = Reader { bytes: packed, at: 0 };
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        if bits.bit()? == 0 {
            bytes.push(bits.more(0, 8)? as u8);
            continue;
        }
        let count = bits.number()? + 2;
        let below = bits.more(0, 4)?;
        let distance = bits.more(1, below)?;
        let from = bytes.len().checked_sub(distance)?;
        if count > length - bytes.len() {
            return None;
        }
        // A repeat may reach into itself: each byte is there before it is needed.
        (from..from + count).for_each(|place| bytes.push(bytes[place]));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let own = include_bytes!("packed.rs");
        let far = [noise(66_000), noise(500)].concat();
        for bytes in [
            b"".as_slice(),
            b"a",
            b"ab",
            b"aaa",
            b"abcabcabcabcabcabcabc",
            &[0; 1000],
            &noise(3000),
            &far,
            own,
        ] {
            let packed = pack(bytes);
            assert_eq!(unpack(&packed, bytes.len()).as_deref(), Some(bytes));
            assert!(packed.len() <= bytes.len() * 9 / 8 + 1);
        }
        assert!(pack(own).len() * 2 < own.len());
        assert!(pack(&[0; 1000]).len() < 50);
    }

    #[test]
    fn what_cannot_have_been_packed_is_refused() {
        let own = &include_bytes!("packed.rs")[..1000];
        let packed = pack(own);
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end], own.len()), None);
        }
        for bit in 0..packed.len() * 8 {
            let mut broken = packed.clone();
            broken[bit / 8] ^= 128 >> (bit % 8);
            let unpacked = unpack(&broken, own.len());
            assert!(unpacked.is_none_or(|bytes| bytes.len() == own.len()));
        }
        // A repeat of what is in front of everything, a number without an end, one that is too long.
        for bytes in [&[0xf0; 9][..], &[0x80, 0, 0, 0, 0, 0, 0], &[0, 0xd7, 0xff]] {
            assert_eq!(unpack(bytes, 5), None, "{bytes:?}");
        }
    }
}

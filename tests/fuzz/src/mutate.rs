//! What becomes of an input on its way to the next one.

/// The longest input that mutation makes, but for one that is blown up on purpose.
const LONGEST: usize = 2 << 10;

/// The longest of all.
const BLOWN_UP: usize = 64 << 10;

/// One input in so many is blown up.
const SELDOM: usize = 4096;

/// Marsaglia's xorshift: the same inputs from the same seed on every machine.
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero; small seeds are to part soon.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`; 0 if that is 0.
    #[allow(clippy::cast_possible_truncation, reason = "any number will do")]
    pub fn below(&mut self, bound: usize) -> usize {
        self.number() as usize % bound.max(1)
    }

    #[allow(clippy::cast_possible_truncation, reason = "one byte of it")]
    fn byte(&mut self) -> u8 {
        (self.number() >> 24) as u8
    }
}

/// Numbers at the edges of what a field holds.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX];

/// Makes the next input in `out`, from one of `known`, now and then with a piece of another.
pub fn mutate(random: &mut Random, known: &[Vec<u8>], words: &[&[u8]], out: &mut Vec<u8>) {
    let pick = |random: &mut Random| known.get(random.below(known.len()));
    out.clear();
    out.extend(pick(random).map(Vec::as_slice).unwrap_or_default());
    for _ in 0..=random.below(4) {
        let place = random.below(out.len() + 1);
        let len = 1 + random.below(8);
        let end = (place + len).min(out.len());
        match random.below(10) {
            0 => out.truncate(place),
            1 => insert(out, place, &[random.byte()]),
            2 => drop(out.drain(place..end)),
            3 => {
                let piece = out[place..end].to_vec();
                insert(out, place, &piece.repeat(1 + random.below(4)));
            }
            4 => {
                let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
                let width = 1 << random.below(4);
                overwrite(out, place, &edge[edge.len() - width..]);
            }
            5 | 6 if !words.is_empty() => insert(out, place, words[random.below(words.len())]),
            7 => {
                let other = pick(random).map(Vec::as_slice).unwrap_or_default();
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                insert(out, place, &other[from..to]);
            }
            8 => {
                if let Some(byte) = out.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
            _ => {
                let byte = random.byte();
                overwrite(out, place, &[byte]);
            }
        }
    }
    out.truncate(LONGEST);
    if random.below(SELDOM) == 0 && !out.is_empty() {
        let place = random.below(out.len());
        let end = (place + 1 + random.below(16)).min(out.len());
        let piece = out[place..end].to_vec();
        let times = random.below(BLOWN_UP) / piece.len();
        insert(out, place, &piece.repeat(times));
    }
}

fn insert(out: &mut Vec<u8>, place: usize, bytes: &[u8]) {
    out.splice(place..place, bytes.iter().copied());
}

fn overwrite(out: &mut [u8], place: usize, bytes: &[u8]) {
    for (old, new) in out.iter_mut().skip(place).zip(bytes) {
        *old = *new;
    }
}

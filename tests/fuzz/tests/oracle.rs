//! Python's msgpack judges our MessagePack: what we write it reads, what it writes we read, and what is
//! none either refuses.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a test may")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "any bits will do, and a float is to lose some"
)]

use proximity_fuzz::{
    corpus,
    mutate::{Random, mutate},
};
use proximity_proto::{
    Value,
    limits::Limits,
    reply,
    value::{DecodeErrorKind, check},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

/// Values that go both ways.
const VALUES: usize = 10_000;

/// Mutated messages, most of which are none.
const BROKEN: usize = 20_000;

const UNLIMITED: Limits = Limits { max_frame: usize::MAX, max_items: u32::MAX };

/// How msgpack writes a value for us to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// As it does today.
    Plain,
    /// As it did once, and Python 2 does: bytes and text alike.
    Raw,
    /// Floats in 32 bits.
    Single,
}

impl Dialect {
    fn word(self) -> &'static str {
        match self {
            Dialect::Plain => "plain",
            Dialect::Raw => "raw",
            Dialect::Single => "single",
        }
    }
}

fn seed() -> u64 {
    std::env::var("SEED").ok().map_or(1, |text| text.parse().expect("SEED is a number"))
}

/// Asks Python's msgpack all questions, and returns its answers.
fn ask(questions: Vec<String>) -> Vec<String> {
    let count = questions.len();
    let python = std::env::var("PROXIMITY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../python/msgpack_oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut input = child.stdin.take().expect("the input is piped");
    // It answers while it is asked.
    let asker = thread::spawn(move || {
        for question in questions {
            writeln!(input, "{question}").expect("python reads");
        }
    });
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "python failed; does it have msgpack?");
    asker.join().expect("all was asked");
    let text = String::from_utf8(output.stdout).expect("python answers in ASCII");
    let answers: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), count, "an answer to each question");
    answers
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.map(|pair| byte(pair).unwrap_or_else(|| panic!("'{hex}' is no hex"))).collect()
}

/// A value in the making: in our bytes, and in words, by which alone values are compared.
struct Draft {
    random: Random,
    dialect: Dialect,
    ours: Vec<u8>,
    /// As it is.
    words: Vec<String>,
    /// As it is after its way through the dialect.
    back: Vec<String>,
}

impl Draft {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let dialect = [Dialect::Plain, Dialect::Raw, Dialect::Single][random.below(3)];
        Self { random, dialect, ours: Vec::new(), words: Vec::new(), back: Vec::new() }
    }

    fn say(&mut self, word: String) {
        self.back.push(word.clone());
        self.words.push(word);
    }

    /// A length, now and then one at the edge of what a head's field holds.
    fn length(&mut self, few: usize) -> usize {
        const EDGES: [usize; 8] = [15, 16, 31, 32, 255, 256, 65_535, 65_536];
        match self.random.below(40) {
            // The longest ones seldom: they take their time.
            0 if self.random.below(20) == 0 => EDGES[6 + self.random.below(2)],
            0..=3 => EDGES[self.random.below(6)],
            _ => self.random.below(few),
        }
    }

    fn value(&mut self, depth: usize) {
        match self.random.below(if depth < 5 { 10 } else { 8 }) {
            0 => {
                self.say("N".to_owned());
                reply::value(&mut self.ours, Value::Nil);
            }
            1 => {
                let truth = self.random.below(2) == 1;
                self.say(if truth { "T" } else { "F" }.to_owned());
                reply::value(&mut self.ours, Value::Bool(truth));
            }
            // As many of each size.
            2 => {
                let number = self.random.number() >> self.random.below(64);
                self.say(format!("i{number}"));
                reply::uint(&mut self.ours, number);
            }
            3 => {
                let number = (self.random.number() >> self.random.below(64)).cast_signed();
                let number = if self.random.below(4) == 0 { number } else { number.wrapping_neg() };
                self.say(format!("i{number}"));
                reply::int(&mut self.ours, number);
            }
            4 => self.float(),
            5 => self.bytes(),
            6 | 7 => {
                let text = self.letters();
                self.text(&text);
            }
            8 => {
                let count = self.length(6);
                self.say(format!("a{count}"));
                reply::list_head(&mut self.ours, count);
                for _ in 0..count {
                    // Long lists are of small things.
                    self.value(if count < 10 { depth + 1 } else { 5 });
                }
            }
            _ => {
                let count = self.length(5).min(256);
                self.say(format!("m{count}"));
                reply::map_head(&mut self.ours, count);
                for number in 0..count {
                    // Python's keys are different ones.
                    self.text(&format!("key {number}"));
                    self.value(if count < 10 { depth + 1 } else { 5 });
                }
            }
        }
    }

    fn float(&mut self) {
        const ODD: [f64; 5] = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let mut float = match self.random.below(3) {
            0 => ODD[self.random.below(ODD.len())],
            1 => f64::from_bits(self.random.number()),
            _ => {
                f64::from(u32::from_be_bytes([0, 1, 2, 3].map(|_| self.random.number() as u8)))
                    / 8.0
            }
        };
        if self.dialect == Dialect::Single && float.is_finite() && float.abs() > f64::from(f32::MAX)
        {
            float = 0.5;
        }
        self.words.push(told_float(float));
        let single = self.dialect == Dialect::Single;
        self.back.push(told_float(if single { f64::from(float as f32) } else { float }));
        reply::value(&mut self.ours, Value::Float(float));
    }

    fn bytes(&mut self) {
        let count = self.length(40);
        let bytes: Vec<u8> = (0..count).map(|_| self.random.number() as u8).collect();
        self.words.push(format!("b{}", hex(&bytes)));
        let is_text = self.dialect == Dialect::Raw && str::from_utf8(&bytes).is_ok();
        self.back.push(format!("{}{}", if is_text { 's' } else { 'b' }, hex(&bytes)));
        reply::bytes(&mut self.ours, &bytes);
    }

    fn letters(&mut self) -> String {
        const LETTERS: [char; 8] = ['a', '"', '\\', '\0', 'é', '€', '😀', '\u{10ffff}'];
        let count = self.length(20);
        (0..count).map(|_| LETTERS[self.random.below(LETTERS.len())]).collect()
    }

    fn text(&mut self, text: &str) {
        self.say(format!("s{}", hex(text.as_bytes())));
        reply::text(&mut self.ours, text);
    }
}

fn told_float(float: f64) -> String {
    if float.is_nan() { "fnan".to_owned() } else { format!("f{:016x}", float.to_bits()) }
}

/// A value of ours in words; text and bytes are one where only the bytes are asked for.
fn tell(value: Value<'_>, apart: bool, words: &mut Vec<String>) {
    match value {
        Value::Nil => words.push("N".to_owned()),
        Value::Bool(truth) => words.push(if truth { "T" } else { "F" }.to_owned()),
        Value::Uint(number) => words.push(format!("i{number}")),
        Value::Int(number) => words.push(format!("i{number}")),
        Value::Float(float) => words.push(told_float(float)),
        Value::Text(text) => {
            words.push(format!("{}{}", if apart { 's' } else { 'b' }, hex(text.as_bytes())));
        }
        Value::Bytes(bytes) => words.push(format!("b{}", hex(bytes))),
        Value::Array(array) => {
            words.push(format!("a{}", array.len()));
            array.iter().for_each(|item| tell(item, apart, words));
        }
        Value::Map(map) => {
            words.push(format!("m{}", map.len()));
            for (key, item) in map.iter() {
                tell(key, apart, words);
                tell(item, apart, words);
            }
        }
    }
}

#[test]
fn what_we_write_msgpack_reads_and_what_it_writes_we_read() {
    let seed = seed();
    let drafts = (0..VALUES as u64).map(|number| {
        let mut draft = Draft::new(seed << 32 | number);
        draft.value(0);
        draft
    });
    let drafts: Vec<Draft> = drafts.collect();
    let question =
        |d: &Draft| format!("pack {} {} {}", d.dialect.word(), hex(&d.ours), d.words.join(" "));
    let answers = ask(drafts.iter().map(question).collect());
    for (number, (draft, answer)) in drafts.iter().zip(&answers).enumerate() {
        let what = || format!("SEED={seed}, value {number}: {}", draft.words.join(" "));
        assert!(!answer.starts_with("differs"), "{}: msgpack reads {answer}", what());
        let theirs = bytes(answer);
        let checked = check(&theirs, &UNLIMITED).unwrap_or_else(|error| {
            panic!("{}, as msgpack writes it in {:?}: {error}", what(), draft.dialect)
        });
        assert_eq!(checked.odd_key, None, "{}", what());
        let mut words = Vec::new();
        tell(Value::first(&theirs).expect("a sound value"), true, &mut words);
        assert_eq!(words, draft.back, "{}, written in {:?}", what(), draft.dialect);
    }
}

#[test]
fn what_one_takes_the_other_takes_for_the_same_but_for_the_listed_differences() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut seeds = (proximity_fuzz::target("request").expect("a target").seeds)();
    seeds.extend(corpus::saved("request").into_iter().map(|(_, bytes)| bytes));
    // The long ones are few, and would be most of the work.
    seeds.retain(|bytes| bytes.len() <= 4096);
    let words: &[&[u8]] = &[
        b"\xc1",
        b"\xd4\x01\x02",
        b"\xc7\x01\x05a",
        b"\xd6\xff\0\0\0\0",
        b"\xca\x7f\x80\0\0",
        b"\xd9\x02\xff\xfe",
        b"\x81\xc0\x01",
        b"\x81\x91\x01\x02",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\xdc\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91\x91\x91\x91\x91\x91\x91\x91",
    ];
    let messages: Vec<Vec<u8>> = (0..BROKEN)
        .map(|_| {
            let mut message = Vec::new();
            mutate(&mut random, &seeds, words, &mut message);
            message
        })
        .collect();
    let answers = ask(messages.iter().map(|message| format!("read {}", hex(message))).collect());
    let mut met = BTreeMap::new();
    for (message, answer) in messages.iter().zip(&answers) {
        let what = || format!("SEED={seed}, {}", message.escape_ascii());
        let refused = answer.starts_with("refused");
        let fate = match check(message, &UNLIMITED).map_err(|error| error.kind) {
            Ok(_) => {
                let mut words = Vec::new();
                tell(Value::first(message).expect("a sound value"), false, &mut words);
                assert_eq!(words.join(" "), *answer, "{}", what());
                "both take it"
            }
            Err(_) if refused => "both refuse it",
            // What we do not take on purpose, and msgpack does.
            Err(DecodeErrorKind::Extension(_)) => "ours refuses an extension type",
            Err(DecodeErrorKind::TooDeep) => "ours refuses what nests deep",
            Err(DecodeErrorKind::LongKey) => "ours refuses a long key",
            Err(error) => panic!("{}: ours says {error}; msgpack reads {answer}", what()),
        };
        *met.entry(fate).or_insert(0) += 1;
    }
    println!("{met:?}");
    let enough = |fate, least| met.get(fate).is_some_and(|&count| count >= least);
    assert!(enough("both take it", 200) && enough("both refuse it", 200), "{met:?}");
}

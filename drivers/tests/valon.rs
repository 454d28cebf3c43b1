//! The driver of the Valon 5007, against one that was simulated from the same facts: no hardware was here.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod instrument;

use instrument::{Act, Device, Instrument, Socket, eventually, say};
use std::sync::{Arc, Mutex};

/// What one synthesizer holds.
#[derive(Clone)]
struct Half {
    registers: [u8; 24],
    label: [u8; 16],
    range: [u8; 4],
}

/// What the simulated Valon holds, in memory and in flash.
#[derive(Clone)]
struct State {
    halves: [Half; 2],
    reference: [u8; 4],
    status: u8,
    flashed: u32,
    refused: u32,
}

impl State {
    /// Made up: 10 MHz reference, output at 2 GHz.
    fn new() -> Self {
        let words: [u32; 6] = [
            0x00c8_0000,
            0x0800_8009,
            0x1800_4e42,
            0x0000_04b3,
            0x0085_003c | 1 << 20,
            0x0058_0005,
        ];
        let mut registers = [0; 24];
        for (bytes, word) in registers.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let half =
            Half { registers, label: *b"Synthesizer\0\0\0\0\0", range: [0x08, 0x98, 0x11, 0x30] };
        Self {
            halves: [half.clone(), half],
            reference: 10_000_000_u32.to_be_bytes(),
            // A is locked, B is not.
            status: 0x20,
            flashed: 0,
            refused: 0,
        }
    }

    /// Takes a command off the input once it is whole, and answers it.
    fn answer(&mut self, input: &mut Vec<u8>) -> Option<Vec<u8>> {
        let command = *input.first()?;
        let half = usize::from(command >> 3 & 1);
        let len = match command & 0x47 {
            0x00 => 24,
            0x01 | 0x03 => 4,
            0x02 => 16,
            0x06 => 1,
            0x40 => 0,
            _ => {
                input.remove(0);
                return Some(vec![0x15]);
            }
        };
        if command & 0x80 != 0 {
            input.remove(0);
            let data = match command & 0x07 {
                0 => self.halves[half].registers.to_vec(),
                1 => self.reference.to_vec(),
                2 => self.halves[half].label.to_vec(),
                3 => self.halves[half].range.to_vec(),
                _ => vec![self.status],
            };
            return Some([data.as_slice(), &[sum(&data)]].concat());
        }
        if input.len() < len + 2 {
            return None;
        }
        let whole: Vec<u8> = input.drain(..len + 2).collect();
        let (data, check) = (&whole[1..=len], whole[len + 1]);
        if check != sum(&whole[..=len]) {
            self.refused += 1;
            return Some(vec![0x15]);
        }
        match command & 0x47 {
            0x00 => self.halves[half].registers.copy_from_slice(data),
            0x01 => self.reference.copy_from_slice(data),
            0x02 => self.halves[half].label.copy_from_slice(data),
            0x03 => self.halves[half].range.copy_from_slice(data),
            0x06 => self.status = self.status & 0xfe | data[0] & 1,
            _ => self.flashed += 1,
        }
        Some(vec![0x06])
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// What happens to the line, by the command.
type Fate = Box<dyn FnMut(u8, Vec<u8>) -> Vec<Act> + Send>;

fn valon(mut fate: Fate) -> (Instrument, Device, Arc<Mutex<State>>, String) {
    let socket = Socket::new();
    let state = Arc::new(Mutex::new(State::new()));
    let held = Arc::clone(&state);
    let instrument = Instrument::new(&socket, move |input| {
        let mut acts = Vec::new();
        while let Some(command) = input.first().copied()
            && let Some(answer) = held.lock().unwrap().answer(input)
        {
            acts.extend(fate(command, answer));
        }
        acts
    });
    let device = Device::new("valon", &format!("{}timeout = 1.5\n", socket.key()));
    (instrument, device, state, socket.path().display().to_string())
}

fn good() -> Fate {
    Box::new(|_, answer| say(answer))
}

#[test]
fn all_that_it_holds_is_read() {
    let (_instrument, mut valon, _, _) = valon(good());
    for (method, args, result) in [
        ("get_frequency", r#"["A"]"#, "2000.0"),
        ("get_frequency", "[8]", "2000.0"),
        ("get_reference", "[]", "10000000"),
        ("get_ref_select", "[]", "false"),
        ("get_rf_level", r#"["A"]"#, "5"),
        ("get_options", r#"["A"]"#, r#"{"double":false,"half":false,"low_spur":false,"r":1}"#),
        ("get_vco_range", r#"["B"]"#, "[2200,4400]"),
        ("get_phase_lock", r#"["A"]"#, "true"),
        ("get_phase_lock", r#"["B"]"#, "false"),
        ("get_label", r#"["A"]"#, r#""Synthesizer""#),
    ] {
        assert_eq!(valon.ask(method, args), result, "{method}({args})");
    }
}

#[test]
fn all_that_can_be_set_is_set_and_nothing_else() {
    let (_instrument, mut valon, state, _) = valon(good());
    let before = state.lock().unwrap().clone();
    for (method, args, result) in [
        ("set_frequency", r#"["B", 1024]"#, "1024.0"),
        ("set_rf_level", r#"["B", -1]"#, "null"),
        ("set_label", r#"["B", "ADC clock"]"#, "null"),
        ("set_ref_select", "[]", "null"),
        ("set_vco_range", r#"["B", 2100, 4500]"#, "null"),
        ("flash", "[]", "null"),
    ] {
        assert_eq!(valon.ask(method, args), result, "{method}({args})");
    }
    for (method, args, result) in [
        ("get_frequency", r#"["B"]"#, "1024.0"),
        ("get_rf_level", r#"["B"]"#, "-1"),
        ("get_label", r#"["B"]"#, r#""ADC clock""#),
        ("get_ref_select", "[]", "true"),
        ("get_vco_range", r#"["B"]"#, "[2100,4500]"),
        ("get_frequency", r#"["A"]"#, "2000.0"),
    ] {
        assert_eq!(valon.ask(method, args), result, "{method}({args})");
    }
    let after = state.lock().unwrap().clone();
    assert_eq!(after.halves[0].registers, before.halves[0].registers, "the other synthesizer");
    assert_eq!(after.flashed, 1);

    assert_eq!(valon.ask("set_options", r#"["A", true, false, 2, true]"#), "null");
    let options = r#"{"double":true,"half":false,"low_spur":true,"r":2}"#;
    assert_eq!(valon.ask("get_options", r#"["A"]"#), options);
    assert_eq!(valon.ask("set_reference", "[20000000]"), "null");
    assert_eq!(valon.ask("get_frequency", r#"["A"]"#), "4000.0", "as the reference is said to be");
}

#[test]
fn values_that_will_not_do_are_refused_before_anything_is_set() {
    let (_instrument, mut valon, state, _) = valon(good());
    let before = state.lock().unwrap().halves[0].registers;
    for (method, args, said) in [
        (
            "set_frequency",
            r#"["A", 100]"#,
            "ValueError: freq is 100 MHz; it must be in the oscillator's range, get_vco_range(), \
             or a half to a sixteenth of it",
        ),
        (
            "set_frequency",
            r#"["A", 1000, 0]"#,
            "ValueError: chan_spacing is 0; it must be 0.001 to 1000 MHz",
        ),
        ("set_rf_level", r#"["A", 3]"#, "ValueError: rf_level is 3; it must be -4, -1, 2 or 5 dBm"),
        ("set_options", r#"["A", false, false, 0]"#, "ValueError: r is 0; it must be 1 to 1023"),
        ("set_vco_range", r#"["A", 5, 5]"#, "ValueError: min is 5; it must be below max"),
        (
            "set_label",
            r#"["A", "much longer than sixteen"]"#,
            "ValueError: label is 'much longer than sixteen'; it must be up to 16 characters of ASCII",
        ),
        (
            "get_frequency",
            r#"["C"]"#,
            "ValueError: argument 'synth' of get_frequency() must be 'A' or 'B', or their numbers 0 and 8",
        ),
    ] {
        assert_eq!(valon.ask(method, args), said);
    }
    assert_eq!(state.lock().unwrap().halves[0].registers, before);
}

#[test]
fn a_wrong_checksum_is_an_error_and_the_next_answer_is_right_again() {
    let mut wrong = 1;
    let (_instrument, mut valon, _, path) = valon(Box::new(move |command, mut answer| {
        if command == 0x81 && wrong > 0 {
            wrong -= 1;
            answer[1] ^= 0x40;
        }
        say(answer)
    }));
    let told = valon.ask("get_reference", "[]").replace(&path, "PORT");
    assert_eq!(
        told,
        "RuntimeError: PORT answered '\\x81' with '\\x00\\xd8\\x96\\x80\\xae'; \
         it must be data with the right checksum"
    );
    assert_eq!(valon.ask("get_reference", "[]"), "10000000");
}

#[test]
fn a_refusal_is_told() {
    let (_instrument, mut valon, _, path) =
        valon(Box::new(|command, answer| say(if command == 0x40 { vec![0x15] } else { answer })));
    let told = valon.ask("flash", "[]").replace(&path, "PORT");
    assert_eq!(
        told,
        "RuntimeError: PORT refused '@@': NAK, as it does where the checksum or the data are wrong"
    );
    assert_eq!(valon.ask("get_reference", "[]"), "10000000");
}

#[test]
fn a_command_that_was_cut_short_is_never_completed() {
    // Pulled out after so many bytes of a write of 26: the synthesizer still waits for the rest.
    for keep in [1, 2, 13, 24] {
        let socket = Socket::new();
        let state = Arc::new(Mutex::new(State::new()));
        let (held, mut cut) = (Arc::clone(&state), false);
        let instrument = Instrument::new(&socket, move |input| {
            if !cut && input.first() == Some(&0x00) && input.len() == 26 {
                cut = true;
                input.truncate(keep);
                return vec![Act::HangUp];
            }
            let mut state = held.lock().unwrap();
            let mut acts = Vec::new();
            if !cut && input.first() == Some(&0x00) {
                return acts;
            }
            while let Some(answer) = state.answer(input) {
                acts.extend(say(answer));
            }
            acts
        });
        let mut valon = Device::new("valon", &format!("{}timeout = 0.3\n", socket.key()));
        let before = state.lock().unwrap().halves[0].registers;
        let error = valon.call("set_frequency", r#"["A", 800]"#).unwrap_err();
        assert_eq!(error.class, "ConnectionError", "{error}");
        instrument.plug_in();
        eventually("it comes back", || valon.ask("get_frequency", r#"["A"]"#) == "2000.0");
        let state = state.lock().unwrap();
        assert_eq!(state.halves[0].registers, before, "cut after {keep}");
        assert_eq!(state.refused, 1, "cut after {keep}: what was left was ended");
    }
}

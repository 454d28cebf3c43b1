//! What only hardware can show: run by hand, with the ports named in the environment.
//!
//!     PROXIMITY_LOOP=/dev/serial/by-id/... cargo test -p proximity-drivers --test serial_hardware -- --ignored
//!
//! `PROXIMITY_LOOP` is a port whose pins 2 and 3 (TX and RX) are joined, `PROXIMITY_VALON` a Valon 5007, of
//! which nothing is changed.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod instrument;

use instrument::Device;
use std::env;

fn named(variable: &str) -> String {
    let port = env::var(variable).unwrap_or_else(|_| panic!("{variable} names no port"));
    format!("port = '{port}'\n")
}

#[test]
#[ignore = "needs a serial port with TX and RX joined, PROXIMITY_LOOP"]
fn what_is_sent_into_a_loop_comes_back_at_every_speed() {
    let mut port = Device::new("serial", &named("PROXIMITY_LOOP"));
    for baud in [9600, 19_200, 115_200] {
        assert_eq!(port.set("baudrate", &baud.to_string()), "null");
        for number in 0..20 {
            // The loop answers a line with that line.
            let line = format!(r#""line {number} at {baud}""#);
            assert_eq!(port.ask("query", &format!("[{line}]")), line);
        }
    }
    assert_eq!(port.ask("flush", "[]"), "null");
    assert_eq!(port.get("out_waiting"), "0");
    for line in ["cts", "dsr", "cd", "ri"] {
        println!("{line}: {}", port.get(line));
    }
}

#[test]
#[ignore = "needs a Valon 5007, PROXIMITY_VALON"]
fn a_valon_tells_what_it_holds() {
    let mut valon = Device::new("valon", &named("PROXIMITY_VALON"));
    println!("reference: {} Hz", valon.ask("get_reference", "[]"));
    println!("external: {}", valon.ask("get_ref_select", "[]"));
    for synth in ["A", "B"] {
        let args = format!(r#"["{synth}"]"#);
        for method in [
            "get_label",
            "get_frequency",
            "get_rf_level",
            "get_phase_lock",
            "get_options",
            "get_vco_range",
            "get_registers",
        ] {
            println!("{synth} {method}: {}", valon.ask(method, &args));
        }
        let level: i64 = valon.ask("get_rf_level", &args).parse().unwrap();
        assert!([-4, -1, 2, 5].contains(&level));
    }
}

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proximity_fuzz::run_body("gateware", bytes));

//! What the mock's hardware does: clocks, snapshots, QDR, DRAM, sensors; and what a test can see of it.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod link;

use link::{DEADLINE, Link};
use mock_fpga::{Config, Design, Fault, Mock};
use std::time::{Duration, Instant};

fn adc() -> Config {
    Config { design: Design::adc(), ..Config::default() }
}

#[test]
fn the_clock_counter_runs_at_its_rate() {
    let mock = Mock::start(Config { clock_hz: 50e6, ..Config::default() }).unwrap();
    let mut link = Link::open(mock.addr());
    let before = Instant::now();
    let first = link.word("sys_clkcounter");
    let between = Instant::now();
    link.wait_word("sys_clkcounter", |word| word.wrapping_sub(first) > 5_000_000);
    let second = link.word("sys_clkcounter");
    let (least, most) = (between.elapsed(), before.elapsed());
    let seconds = f64::from(second.wrapping_sub(first)) / 50e6;
    // It was read at some time within the two requests.
    assert!(
        seconds <= most.as_secs_f64() && seconds >= 0.1,
        "{seconds} s in {least:?} to {most:?}"
    );
}

#[test]
fn a_snapshot_is_busy_then_full_of_samples() {
    let config = Config { trigger_after: Some(Duration::from_millis(20)), ..adc() };
    let mock = Mock::start(config).unwrap();
    let mut link = Link::open(mock.addr());
    assert_eq!(link.word("adc_snap_status"), 0);
    link.ask("?wordwrite adc_snap_ctrl 0 0");
    link.ask("?wordwrite adc_snap_ctrl 0 1");
    assert_eq!(link.word("adc_snap_status") >> 31, 1);
    assert_eq!(link.wait_word("adc_snap_status", |status| status >> 31 == 0), 65_536);
    let first = link.read("adc_snap_bram", 0, 65_536);
    let loud = first.iter().filter(|&&sample| i8::from_be_bytes([sample]).abs() > 40).count();
    assert!((10_000..55_000).contains(&loud), "{loud} samples are near the tone's peaks");
    // It does not run again unless it is armed again, and then it sees something else.
    assert_eq!(link.read("adc_snap_bram", 0, 65_536), first);
    link.ask("?wordwrite adc_snap_ctrl 0 0");
    link.ask("?wordwrite adc_snap_ctrl 0 3");
    link.wait_word("adc_snap_status", |status| status >> 31 == 0);
    assert_ne!(link.read("adc_snap_bram", 0, 65_536), first);
}

#[test]
fn a_snapshot_without_a_trigger_stays_busy_until_triggered_by_hand() {
    let mock = Mock::start(Config { trigger_after: None, ..adc() }).unwrap();
    let mut link = Link::open(mock.addr());
    link.ask("?wordwrite old_snap_ctrl 0 1");
    assert_eq!(link.word("old_snap_addr"), 1 << 31);
    link.ask("?wordwrite old_snap_ctrl 0 0");
    link.ask("?wordwrite old_snap_ctrl 0 11");
    // The older kind tells its last word; this one went round and round before the trigger.
    assert_eq!(link.wait_word("old_snap_addr", |addr| addr >> 31 == 0), 0x2000 / 4 - 1);
    assert_eq!(link.word("old_snap_tr_en_cnt"), 0x2000 + 1024);
}

#[test]
fn a_qdr_calibrates_again_after_a_reset() {
    let mock = Mock::start(Config::default()).unwrap();
    let mut link = Link::open(mock.addr());
    assert_eq!(link.read("qdr0_ctrl", 4, 4), [0, 0, 0, 1]);
    link.ask("?wordwrite qdr0_ctrl 0 0xffffffff");
    assert_eq!(link.word("qdr0_ctrl"), 0, "the reset clears itself");
    let start = Instant::now();
    while link.read("qdr0_ctrl", 4, 4) != [0, 0, 0, 1] {
        assert!(start.elapsed() < DEADLINE);
    }
}

#[test]
fn bits_may_clear_themselves() {
    let self_clearing = vec![("sys_scratchpad".to_owned(), 0xff)];
    let mock = Mock::start(Config { self_clearing, ..Config::default() }).unwrap();
    let mut link = Link::open(mock.addr());
    link.ask("?wordwrite sys_scratchpad 0 0x1234");
    assert_eq!(link.word("sys_scratchpad"), 0x1200);
}

#[test]
fn dram_is_seen_a_page_at_a_time() {
    let mock = Mock::start(adc()).unwrap();
    let mut link = Link::open(mock.addr());
    for page in 0..3 {
        link.ask(&format!("?wordwrite dram_controller 0 {page}"));
        link.ask(&format!("?wordwrite dram_memory 1000 {}", 100 + page));
    }
    for page in [2_u8, 0, 1] {
        link.ask(&format!("?wordwrite dram_controller 0 {page}"));
        assert_eq!(link.read("dram_memory", 4000, 4), [0, 0, 0, 100 + page]);
    }
}

#[test]
fn ten_gbe_cores_have_arp_tables_and_tell_their_kind() {
    let mock = Mock::start(adc()).unwrap();
    let mut link = Link::open(mock.addr());
    assert_eq!(link.read("ten_gbe0", 0x3000, 8), [0, 0, 255, 255, 255, 255, 255, 255]);
    assert_eq!(link.read("ten_gbe0", 0x24, 4), [0, 0, 0, 0x7c]);
    assert_eq!(link.read("ten_gbe1", 0, 4), [1, 1, 1, 2]);
    let reply = link.ask("?tap-start tap0 ten_gbe0 10.0.0.9/20 60001 02:00:00:00:00:07 10.0.0.254");
    assert_eq!(reply, "!tap-start ok");
    assert_eq!(link.read("ten_gbe0", 0, 8), [0, 0, 2, 0, 0, 0, 0, 7]);
    assert_eq!(link.read("ten_gbe0", 0x10, 4), [10, 0, 0, 9]);
    assert_eq!(link.read("ten_gbe0", 0x38, 4), [255, 255, 240, 0]);
    assert_eq!(link.read("ten_gbe0", 0x3000 + 8 * 9, 8), [0, 0, 2, 0, 0, 0, 0, 7]);
    assert_eq!(link.ask("?tap-multicast-add tap0 recv 239.0.0.1+3"), "!tap-multicast-add ok");
}

#[test]
fn a_sensor_that_is_sampled_is_reported() {
    let mock = Mock::start(Config { sensors: true, ..Config::default() }).unwrap();
    let mut link = Link::greeted(mock.addr());
    assert_eq!(link.ask("?sensor-list"), "!sensor-list ok 6");
    let reply = link.ask("?sensor-sampling raw.temp.fpga period 5");
    assert_eq!(reply, "!sensor-sampling ok raw.temp.fpga period 5");
    for _ in 0..3 {
        let inform = String::from_utf8(link.line().unwrap()).unwrap();
        assert!(
            inform.starts_with("#sensor-status ") && inform.contains(" 1 raw.temp.fpga "),
            "{inform}"
        );
    }
    link.ask("?sensor-sampling raw.temp.fpga none");
    assert_eq!(
        link.ask("?sensor-sampling raw.temp.fpga"),
        "!sensor-sampling ok raw.temp.fpga none"
    );
}

#[test]
fn registers_may_overlap_and_be_one_way() {
    let mock = Mock::start(adc()).unwrap();
    let mut link = Link::open(mock.addr());
    link.ask("?wordwrite sys_scratchpad 0 0x01020304");
    assert_eq!(link.read("sys_block", 12, 4), [1, 2, 3, 4]);
    assert_eq!(link.ask("?wordwrite sys_rev 0 1"), "!wordwrite fail");
    assert_eq!(link.ask("?read pulse 0 4"), "!read fail");
}

#[test]
fn a_test_sees_memory_requests_and_writes() {
    let mock = Mock::start(Config::default()).unwrap();
    let mut link = Link::greeted(mock.addr());
    assert_eq!(mock.peek("nosuch"), None);
    assert!(mock.poke("sys_board_id", 2, &[0xba, 0xbe]) && !mock.poke("sys_board_id", 3, &[0, 0]));
    assert_eq!(link.word("sys_board_id"), 0xbabe);
    assert_eq!(link.ask("?write odd7 0 1234567"), "!write ok");
    assert_eq!(link.ask("?write odd7 1 1234567"), "!write fail");
    assert_eq!(mock.peek("odd7").unwrap(), b"1234567");
    let counters = mock.counters();
    assert_eq!((counters.connections, counters.requests, counters.writes), (1, 3, 1));
    assert_eq!(counters.by_name["write"], 2);
    assert_eq!(mock.received()[1], b"?write odd7 0 1234567");
    link.send("?watchdog\n?watchdog\n");
    assert!(mock.wait_for(DEADLINE, |counters| counters.requests == 5));
    assert!(!mock.wait_for(Duration::from_millis(1), |counters| counters.requests == 6));
    mock.program(None);
    assert_eq!(link.reply().and(link.reply()).unwrap(), "!watchdog ok");
    assert_eq!(link.ask("?listdev"), "!listdev fail");
    assert_eq!(link.ask("?progdev adc.bof"), "!progdev ok");
    assert!(mock.is_programmed());
    mock.fault(Fault::None);
}

#[test]
fn a_mebibyte_goes_in_and_out() {
    let mock = Mock::start(Config::default()).unwrap();
    let mut link = Link::open(mock.addr());
    let data: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let mut request = Vec::new();
    let writer = proximity_proto::katcp::Writer::request(&mut request, "write", None).unwrap();
    writer.arg(b"big_bram").uint(0).arg(&data).finish();
    link.send(&request);
    assert_eq!(link.reply().unwrap(), "!write ok");
    assert!(mock.peek("big_bram").unwrap() == data);
    assert!(link.read("big_bram", 0, 1 << 20) == data);
}

//! The other servers: tcpborphserver2, and KATCP version 5.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod link;

use link::Link;
use mock_fpga::{Alignment, Config, Mock, Personality};

fn start(personality: Personality) -> (Mock, Link) {
    let mock = Mock::start(Config { personality, ..Config::default() }).unwrap();
    let link = Link::open(mock.addr());
    (mock, link)
}

#[test]
fn a_roach1_gives_reasons_and_other_defaults() {
    let (_mock, mut link) = start(Personality::Roach1);
    let table = [
        ("?status", "!status ok program"),
        ("?fpgastatus", "!fpgastatus invalid unknown\\\\_command"),
        ("?read sys_board_id", "!read ok \\\\0\\\\0\\xb0\\x0b"),
        ("?read nosuch", "!read fail register"),
        ("?read sys_board_id 0 8", "!read fail read"),
        ("?write sys_board_id 0 abcd", "!write fail register"),
        ("?progdev nosuch.bof", "!progdev fail program"),
        ("?status", "!status fail program"),
        ("?read sys_board_id", "!read fail program"),
        ("?progdev test.bof", "!progdev ok 31636"),
        ("?echotest 10.0.0.1 1", "!echotest ok"),
        ("?watchdog[5]", "!watchdog ok"),
    ];
    for (request, reply) in table {
        assert_eq!(link.ask(request), reply, "{request}");
    }
    link.send("?listdev size\n");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.starts_with('!')) {
        lines.push(String::from_utf8(link.line().unwrap()).unwrap());
    }
    assert!(lines.contains(&"#listdev snap_bram 65536\n".to_owned()), "{lines:?}");
}

#[test]
fn a_roach1_reads_in_bulk() {
    let (mock, mut link) = start(Personality::Roach1);
    let data: Vec<u8> = (0..10_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    mock.poke("snap_bram", 100, &data);
    link.send("?bulkread snap_bram 100 10000\n");
    let (mut got, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let mut inform = link.line().unwrap();
        if inform.starts_with(b"!") {
            assert_eq!(inform, b"!bulkread ok 10000\n");
            break;
        }
        if let Some(chunk) = inform.strip_prefix(b"#bulkread ") {
            let start = inform.len() - chunk.len();
            let end = inform.len() - 1;
            let len = proximity_proto::katcp::unescape_in_place(&mut inform[start..end]);
            got.extend_from_slice(&inform[start..start + len]);
            sizes.push(len);
        }
    }
    assert!(got == data);
    assert_eq!(sizes, [4096, 4096, 1808]);
    assert_eq!(link.ask("?bulkread odd7"), "!bulkread ok 7");
}

#[test]
fn a_roach1_may_insist_on_whole_words() {
    let config = Config {
        personality: Personality::Roach1,
        alignment: Alignment::Refuse,
        ..Config::default()
    };
    let mock = Mock::start(config).unwrap();
    let mut link = Link::open(mock.addr());
    assert_eq!(link.ask("?read snap_bram 2 4"), "!read invalid alignment");
    assert_eq!(link.ask("?write snap_bram 0 abc"), "!write invalid alignment");
    assert_eq!(link.ask("?write snap_bram 4 abcd"), "!write ok");
}

#[test]
fn a_version_5_server_offers_ids_and_uses_them() {
    let (_mock, mut link) = start(Personality::V5);
    assert!(link.line().unwrap().starts_with(b"#version-connect katcp-library "));
    assert_eq!(link.line().unwrap(), b"#version-connect katcp-protocol 5.0-MI\n");
    assert!(link.line().unwrap().starts_with(b"#version-connect kernel "));
    assert_eq!(link.ask("?wordread[17] sys_board_id"), "!wordread[17] ok 0xb00b");
    assert_eq!(link.ask("?nosuch[4]"), "!nosuch[4] invalid unknown\\\\_command");
    link.send("?client-list[9]\n");
    assert!(link.line().unwrap().starts_with(b"#client-list[9] 127.0.0.1:"));
    assert_eq!(link.reply().unwrap(), "!client-list[9] ok 1");
}

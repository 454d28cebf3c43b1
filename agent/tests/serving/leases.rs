//! Leases: who may write, who is told what, who may take them.

use crate::harness::{Agent, Answer, Caller, PATIENCE, With};
use proximity_proto::{
    FromArg, Value,
    call::Op,
    lease::{Held, Lease, Stolen},
    message::{Content, Message},
    request::Arguments,
};
use std::time::Duration;

const ANA: [u8; 16] = [0xa; 16];
const BEN: [u8; 16] = [0xb; 16];

/// A lease's time, and who wants it.
fn wanted(ms: u64, holder: &str) -> Arguments {
    let mut args = Arguments::from((ms,));
    args.push_named("holder", holder);
    args
}

fn note(what: &str) -> Arguments {
    Arguments::from((what,))
}

fn under(token: [u8; 16]) -> With {
    With { lease: Some(token), ..With::default() }
}

fn lock(caller: &Caller, token: [u8; 16], holder: &str) -> Answer {
    caller.ask(Op::Lock, "actor", &wanted(60_000, holder), &under(token))
}

/// What a request about leases answers, as a client reads it.
fn told<T: for<'a> FromArg<'a>>(caller: &Caller, op: Op, args: &Arguments, with: &With) -> T {
    let id = caller.send(op, if op == Op::Leases { "" } else { "actor" }, args, with);
    let bytes = caller.client.receive(PATIENCE).expect("an answer");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.id, Some(id));
    let Content::Ok(value) = message.content else { panic!("{message:?}") };
    T::from_arg(value).unwrap()
}

/// The line, the reason and the hint of what was refused.
fn refusal(answer: Answer) -> (String, String, String) {
    match answer {
        Answer::Error { line, executed: "no", reason, hint } => {
            (line, reason.unwrap_or_default(), hint.unwrap_or_default())
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn while_one_has_the_lease_others_read_and_do_not_write() {
    let (agent, stage, ana) = Agent::with_actor();
    let ben = agent.caller_at("10.1.0.7");
    let held: Held = told(&ana, Op::Lock, &wanted(60_000, "ana@laptop"), &under(ANA));
    assert_eq!(held.ttl, Duration::from_mins(1));
    assert!(held.expires > Duration::from_secs(59) && held.expires <= ana.hello().now + held.ttl);

    assert_eq!(ben.call("actor.who"), Answer::ok("Address 10.1.0.7"));
    let (line, reason, hint) =
        refusal(ben.ask(Op::Call, "actor.note", &note("ben"), &With::default()));
    assert!(line.starts_with("RuntimeError: object 'actor' is locked by ana@laptop for another "));
    assert!(line.ends_with(" s"), "{line}");
    assert_eq!(reason, "Locked");
    assert_eq!(hint, "reads are free; wait, or ask the holder to release it");
    let set = ben.ask(Op::Set, "actor.level", &Arguments::from((8,)), &under(BEN));
    assert_eq!(refusal(set).1, "Locked");
    // An old client's writes are no exception.
    let old = crate::harness::shown(&ben.ask_raw(&crate::harness::old("actor", "boom")));
    assert!(old.contains("is locked by ana@laptop"), "{old}");

    let written = ana.ask(Op::Call, "actor.note", &note("ana"), &under(ANA));
    assert_eq!(written, Answer::ok("null"));
    // The same client without the lease's token is anybody.
    let (_, reason, _) = refusal(ana.ask(Op::Call, "actor.note", &note("x"), &With::default()));
    assert_eq!((reason.as_str(), stage.ran()), ("Locked", vec!["ana".to_owned()]));
}

#[test]
fn whoever_is_refused_is_told_who_has_it_and_for_how_long() {
    let (agent, _stage, ben) = Agent::with_actor();
    let ana = agent.caller_at("10.1.0.7");
    assert!(matches!(lock(&ana, ANA, "ana@laptop"), Answer::Ok(_)));
    ben.send(Op::Lock, "actor", &wanted(1_000, "ben"), &under(BEN));
    let bytes = ben.client.receive(PATIENCE).unwrap();
    let Content::Error { fault, reason: Some("Locked"), .. } =
        Message::parse(&bytes).unwrap().content
    else {
        panic!("not refused")
    };
    let locked = fault.locked.unwrap();
    assert_eq!(locked.holder, "ana@laptop (10.1.0.7)");
    assert!(locked.expires_in > Duration::from_secs(29), "{locked:?}");
    assert!(locked.expires_in <= Duration::from_mins(1), "{locked:?}");

    let leases: Vec<Lease> = told(&ben, Op::Leases, &Arguments::default(), &With::default());
    let [lease] = &leases[..] else { panic!("{leases:?}") };
    assert_eq!(
        (lease.object.as_str(), lease.holder.as_str(), lease.address.as_str()),
        ("actor", "ana@laptop", "10.1.0.7")
    );
}

#[test]
fn a_lease_is_renewed_released_and_lost() {
    let (_agent, stage, ana) = Agent::with_actor();
    let time = Arguments::from((300_000,));
    let lost = refusal(ana.ask(Op::Renew, "actor", &time, &under(ANA)));
    assert_eq!(lost.0, "RuntimeError: the lease of object 'actor' has ended");
    assert_eq!(lost.1, "LeaseLost");
    assert_eq!(lost.2, "somebody else may have had the object since; lock it anew");

    assert!(matches!(lock(&ana, ANA, "ana"), Answer::Ok(_)));
    let held: Held = told(&ana, Op::Renew, &time, &under(ANA));
    assert!(held.expires > Duration::from_secs(290), "{held:?}");
    let none = Arguments::default();
    assert_eq!(refusal(ana.ask(Op::Release, "actor", &none, &under(BEN))).1, "Locked");
    assert_eq!(ana.ask(Op::Release, "actor", &none, &under(ANA)), Answer::ok("null"));
    assert_eq!(refusal(ana.ask(Op::Release, "actor", &none, &under(ANA))).1, "LeaseLost");
    let late = ana.ask(Op::Call, "actor.note", &note("late"), &under(ANA));
    assert_eq!(refusal(late).1, "LeaseLost");
    assert_eq!(
        ana.ask(Op::Call, "actor.note", &note("free"), &With::default()),
        Answer::ok("null")
    );
    assert_eq!(stage.ran(), ["free"]);
}

#[test]
fn a_lease_ends_by_itself_and_the_next_gets_it() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let held: Held = told(&caller, Op::Lock, &wanted(1_000, "ana"), &under(ANA));
    let time = wanted(1_000, "ben");
    let end = loop {
        match caller.ask(Op::Lock, "actor", &time, &under(BEN)) {
            Answer::Ok(_) => break caller.hello().now,
            refused => assert_eq!(refused.not_executed(), "Locked"),
        }
    };
    assert!(end >= held.expires, "{end:?} before {:?}", held.expires);
    let (_, reason, _) = refusal(caller.ask(Op::Call, "actor.note", &note("late"), &under(ANA)));
    assert_eq!(reason, "Locked");
}

#[test]
fn a_lease_can_be_stolen_from_the_agents_own_machine_only() {
    let (agent, stage, local) = Agent::with_actor();
    let far = agent.caller_at("10.1.0.7");
    assert!(matches!(lock(&far, ANA, "ana@laptop"), Answer::Ok(_)));
    let (line, reason, hint) =
        refusal(far.ask(Op::Steal, "actor", &wanted(1_000, "ben"), &under(BEN)));
    assert_eq!(
        line,
        "PermissionError: the lease of 'actor' can be stolen from the agent's own machine only, \
         not from 10.1.0.7"
    );
    assert_eq!(
        (reason.as_str(), hint.as_str()),
        ("", "leases() tells who has it; ask him, or wait")
    );

    let stolen: Stolen = told(&local, Op::Steal, &wanted(60_000, "ben"), &under(BEN));
    assert_eq!(stolen.from.as_deref(), Some("ana@laptop (10.1.0.7)"));
    let again: Stolen = told(&local, Op::Steal, &wanted(60_000, "ben"), &under(BEN));
    assert_eq!(again.from, None, "nothing but the own lease");
    assert_eq!(refusal(far.ask(Op::Call, "actor.note", &note("a"), &under(ANA))).1, "Locked");
    assert_eq!(local.ask(Op::Call, "actor.note", &note("b"), &under(BEN)), Answer::ok("null"));
    assert_eq!(stage.ran(), ["b"]);
}

#[test]
fn a_late_copy_of_a_refused_lock_takes_the_lease_if_it_may_until_it_expires() {
    let (agent, _stage, ana) = Agent::with_actor();
    let ben = agent.caller();
    assert!(matches!(lock(&ana, ANA, "ana"), Answer::Ok(_)));
    let hour = Some(ana.hello().now + Duration::from_hours(1));
    let by = |expires| With { expires, ..under(BEN) };
    let id = ben.send(Op::Lock, "actor", &wanted(1_000, "ben"), &by(hour));
    assert_eq!(ben.answer(id).not_executed(), "Locked");
    let none = Arguments::default();
    assert_eq!(ana.ask(Op::Release, "actor", &none, &under(ANA)), Answer::ok("null"));
    // As its time is over.
    ben.send_as(id, Op::Lock, "actor", &wanted(1_000, "ben"), &by(Some(Duration::ZERO)));
    assert_eq!(ben.answer(id).not_executed(), "Expired");
    ben.send_as(id, Op::Lock, "actor", &wanted(1_000, "ben"), &by(hour));
    assert!(matches!(ben.answer(id), Answer::Ok(_)));
    let (_, reason, _) = refusal(ana.ask(Op::Call, "actor.note", &note("x"), &With::default()));
    assert_eq!(reason, "Locked");
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let ask = |op, target, args: &Arguments, with: &With| {
        let (line, reason, _) = refusal(caller.ask(op, target, args, with));
        (line, reason)
    };
    let none = Arguments::default();
    let cases = [
        (&none, under(ANA), "TypeError: lock takes one argument, the lease's time in ms, not 0"),
        (
            &wanted(999, "ana"),
            under(ANA),
            "ValueError: lock: the lease's time is 999 ms; it must be 1000 to 300000",
        ),
        (
            &wanted(300_001, "ana"),
            under(ANA),
            "ValueError: lock: the lease's time is 300001 ms; it must be 1000 to 300000",
        ),
        (
            &Arguments::from(("soon",)),
            under(ANA),
            "TypeError: lock: the lease's time must be an int of ms, not str",
        ),
        (
            &wanted(1_000, "a\nb"),
            under(ANA),
            "ValueError: lock: 'holder' is 'a\\nb'; it must be 1 to 128 bytes without control \
             characters",
        ),
        (&wanted(1_000, "a"), With::default(), "ValueError: lock needs a 'lease': 16 random bytes"),
    ];
    for (args, with, line) in cases {
        assert_eq!(ask(Op::Lock, "actor", args, &with), (line.to_owned(), String::new()));
    }
    let nobody = ask(Op::Lock, "acter", &wanted(1_000, "a"), &under(ANA));
    assert_eq!(nobody.0, "KeyError: no object 'acter'; this agent has: actor");
    let stale = With { epoch: Some(1), ..under(ANA) };
    assert_eq!(ask(Op::Lock, "actor", &wanted(1_000, "a"), &stale).1, "StaleEpoch");
    let late = With { expires: Some(Duration::ZERO), ..under(ANA) };
    assert_eq!(ask(Op::Steal, "actor", &wanted(1_000, "a"), &late).1, "Expired");
    let leases: Vec<Lease> = told(&caller, Op::Leases, &none, &With::default());
    assert!(leases.is_empty(), "{leases:?}");
}

#[test]
fn a_token_of_another_length_is_refused() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let id = proximity_proto::call::CallId { client: [9; 16], seq: 1 };
    let args = note("x");
    let (lease, progress, credit) = (Some(&b"short"[..]), false, None);
    let (op, name, proc, args) = (Op::Call, "actor", "note", &args);
    let (epoch, expires) = (None, None);
    let mut bytes = Vec::new();
    proximity_proto::request::Request {
        op,
        id,
        epoch,
        expires,
        lease,
        progress,
        credit,
        name,
        proc,
        args,
    }
    .write(&mut bytes);
    let reply = caller.ask_raw(&bytes);
    let Content::Error { fault, .. } = Message::parse(&reply).unwrap().content else { panic!() };
    let line = "ValueError: the request's 'lease' has 5 bytes; it must have 16";
    assert_eq!(fault.to_string(), line);
    // An old client may have a key of that name.
    let mut old = crate::harness::old("actor", "peek");
    old[0] += 1;
    old.extend_from_slice(b"\xa5lease\xc4\x05short");
    assert_eq!(Value::first(&caller.ask_raw(&old)), Some(Value::Uint(7)));
}

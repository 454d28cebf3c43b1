//! The queues between the router and the workers, in every order in which their threads can meet.
//!
//! The two files are compiled here as they are shipped, over [`sync`], whose types are loom's: it runs
//! each model again and again, until it has seen all that can happen with so many preemptions as
//! [`PREEMPTIONS`]. A thread that sleeps over something that is there for it ends as a deadlock.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub, reason = "what the agent does not need here is not tried")]

#[path = "../src/bell.rs"]
mod bell;
#[path = "../src/handover.rs"]
mod handover;

/// What stands in the agent's own `sync.rs`, of loom's.
mod sync {
    pub(crate) use loom::{
        sync::{Mutex, atomic::AtomicU8},
        thread::{Thread, park},
    };
    pub(crate) use std::sync::PoisonError;

    use loom::sync::Condvar;
    use std::{io, sync::Arc};

    /// What a transport without a descriptor is woken by.
    pub(crate) type Waker = Box<dyn Fn() + Send>;

    /// One to wait for.
    pub(crate) type Descriptor = EventFd;

    /// A descriptor that stays readable from the first ring until it is hushed.
    #[derive(Clone)]
    pub(crate) struct EventFd(Arc<(Mutex<bool>, Condvar)>);

    impl EventFd {
        #[allow(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(Arc::new((Mutex::new(false), Condvar::new()))))
        }

        pub(crate) fn descriptor(&self) -> Descriptor {
            self.clone()
        }

        pub(crate) fn ring(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }

        pub(crate) fn hush(&self) {
            *self.0.0.lock().unwrap() = false;
        }

        /// What poll does.
        pub(crate) fn poll(&self) {
            let mut readable = self.0.0.lock().unwrap();
            while !*readable {
                readable = self.0.1.wait(readable).unwrap();
            }
        }

        pub(crate) fn is_readable(&self) -> bool {
            *self.0.0.lock().unwrap()
        }
    }
}

use bell::Bell;
use handover::{Mailbox, Orders};
use loom::{sync::Mutex, thread};
use std::sync::Arc;
use sync::EventFd;

/// How often a thread is stopped where it did not want to wait. Beyond this the schedules become many,
/// and nearly every fault that is there needs two at most.
const PREEMPTIONS: usize = 3;

fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(threads);
}

/// The router's side: its bell, and how it waits in its transport.
struct Router {
    bell: Arc<Bell>,
    /// What the waker does where the transport has one, as `transport/zmq.rs`; with none it polls the
    /// bell's descriptor, as `transport/memory.rs`.
    line: Option<EventFd>,
}

impl Router {
    fn new(way: Way) -> Self {
        let bell = Arc::new(Bell::new().unwrap());
        let line = (way == Way::Waker).then(|| EventFd::new().unwrap());
        if let Some(line) = line.clone() {
            bell.wake_by(Some(Box::new(move || line.ring())));
        }
        Self { bell, line }
    }

    fn sleep(&self) {
        if let Some(line) = &self.line {
            if self.bell.fall_asleep_elsewhere() {
                line.poll();
                line.hush();
                self.bell.wake_up(false);
            }
        } else if let Some(fd) = self.bell.fall_asleep() {
            fd.poll();
            self.bell.wake_up(true);
        }
    }

    /// The same, where a message came in the meantime: the bell may have been rung or not.
    fn wake_for_a_message(&self) {
        if self.line.is_some() {
            if self.bell.fall_asleep_elsewhere() {
                self.bell.wake_up(false);
            }
        } else if let Some(fd) = self.bell.fall_asleep() {
            self.bell.wake_up(fd.is_readable());
        }
    }

    /// Its loop, until it has read `count` reports; a message comes before it sleeps for good.
    fn read(&self, take: impl Fn() -> Option<u32>, count: usize) -> Vec<u32> {
        let mut reports = Vec::new();
        self.wake_for_a_message();
        while reports.len() < count {
            if self.bell.was_rung() {
                while let Some(report) = take() {
                    reports.push(report);
                }
            }
            if reports.len() < count {
                self.sleep();
            }
        }
        assert!(take().is_none(), "more was reported than was done");
        reports
    }
}

/// How the router waits.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Poll,
    Waker,
}

const WAYS: [Way; 2] = [Way::Poll, Way::Waker];

fn router(way: Way) -> (Router, Arc<Mailbox<u32>>) {
    let router = Router::new(way);
    let mailbox = Arc::new(Mailbox::new(Arc::clone(&router.bell)));
    (router, mailbox)
}

#[test]
fn the_router_sleeps_over_no_report_and_reads_each_once() {
    for way in WAYS {
        model(move || {
            let (router, mailbox) = router(way);
            let workers = [1, 2].map(|report| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(report))
            });
            let mut reports = router.read(|| mailbox.take(), 2);
            reports.sort_unstable();
            assert_eq!(reports, [1, 2]);
            for worker in workers {
                worker.join().unwrap();
            }
        });
    }
}

#[test]
fn one_workers_reports_keep_their_order() {
    for way in WAYS {
        model(move || {
            let (router, mailbox) = router(way);
            let worker = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || (1..=2).for_each(|report| mailbox.post(report)))
            };
            assert_eq!(router.read(|| mailbox.take(), 2), [1, 2]);
            worker.join().unwrap();
        });
    }
}

#[test]
fn a_worker_sleeps_over_no_order_and_takes_them_in_turn() {
    model(|| {
        let orders = Arc::new(Orders::new());
        let worker = {
            let orders = Arc::clone(&orders);
            thread::spawn(move || [orders.next(), orders.next(), orders.next()])
        };
        for order in 1..=3 {
            orders.give(order, worker.thread());
        }
        assert_eq!(worker.join().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn an_order_and_its_report_go_round_until_the_worker_is_stopped() {
    for way in WAYS {
        model(move || {
            let (router, mailbox) = router(way);
            let orders = Arc::new(Orders::new());
            let worker = {
                let (orders, mailbox) = (Arc::clone(&orders), Arc::clone(&mailbox));
                thread::spawn(move || {
                    loop {
                        let order = orders.next();
                        mailbox.post(order);
                        if order == 0 {
                            return;
                        }
                    }
                })
            };
            for order in [1, 0] {
                orders.give(order, worker.thread());
                assert_eq!(router.read(|| mailbox.take(), 1), [order]);
            }
            worker.join().unwrap();
        });
    }
}

/// That the models find what they are for.
#[test]
#[should_panic(expected = "deadlock")]
fn a_bell_that_is_rung_before_the_report_is_there_is_found_out() {
    model(|| {
        let router = Router::new(Way::Poll);
        let reports = Arc::new(Mutex::new(None));
        let worker = {
            let (bell, reports) = (Arc::clone(&router.bell), Arc::clone(&reports));
            thread::spawn(move || {
                bell.ring();
                *reports.lock().unwrap() = Some(1);
            })
        };
        router.read(|| reports.lock().unwrap().take(), 1);
        worker.join().unwrap();
    });
}

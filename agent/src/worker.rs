//! One thread for each object, and what it does with a call: the same when the router runs it itself.

use crate::{
    clock::Clock, config::ObjectConfig, handover, job::Job, table::Table, transport::Peer,
};
use proximity_proto::{
    Context, Fault, Object, Principal,
    call::{Op, ReplyTo},
    fault::Executed,
    object::{Args, Flow, Host, Lost},
    reply,
};
use proximity_session::Uptime;
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, Thread},
};

/// The name of an object among those of the router; not used again.
pub(crate) type Slot = usize;

/// What the router asks of a worker. One thing at a time, but for the last.
pub(crate) enum Order {
    /// Drop what is left of the object, and open it.
    Open(Option<Box<dyn Object>>),
    /// Run a call.
    Run { object: Box<dyn Object>, table: Arc<Table>, job: Box<Job>, deadline: Option<Uptime> },
    /// Close the object and end.
    Stop(Option<Box<dyn Object>>),
}

/// What a worker tells the router.
pub(crate) enum Report {
    /// An object was opened, or could not be.
    Opened { slot: Slot, outcome: Result<(Box<dyn Object>, Arc<Table>), Fault> },
    /// A call gave the object back.
    Ran { slot: Slot, object: Box<dyn Object>, job: Box<Job>, end: End },
    /// A call tells how far it is.
    Progress {
        slot: Slot,
        peer: Arc<Peer>,
        message: Vec<u8>,
        /// Counts those of the object that the router has not read; this is one.
        told: Arc<AtomicU32>,
    },
    /// The object is closed and the thread has ended.
    Stopped { slot: Slot },
}

/// How often a call may tell of its progress before the router has read of it: what it tells beyond that is left
/// out, for the next tells more.
const TOLD: u32 = 16;

/// How running a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is over; its reply is written.
    Done,
    /// It was not to start any more.
    Lapsed,
    /// It goes on at a time.
    Waiting(Uptime),
    /// It panicked, or its object broke under it: [`Job::lost`] tells.
    Lost,
}

/// The workers' way back to the router.
pub(crate) type Mailbox = handover::Mailbox<Report>;

/// The router's end of a worker.
pub(crate) struct Worker {
    orders: Arc<handover::Orders<Order>>,
    thread: Thread,
    /// Tells the call in hand that its caller took it back.
    pub(crate) cancel: Arc<AtomicBool>,
    /// When a call last told how far it is: milliseconds of [`Uptime`].
    pub(crate) progressed: Arc<AtomicU64>,
}

impl Worker {
    /// Starts the thread of an object.
    ///
    /// # Errors
    ///
    /// The kernel's, where it gives no more threads.
    pub(crate) fn start(
        slot: Slot,
        config: Arc<ObjectConfig>,
        clock: Clock,
        mailbox: Arc<Mailbox>,
    ) -> io::Result<Self> {
        let orders = Arc::new(handover::Orders::new());
        let cancel = Arc::new(AtomicBool::new(false));
        let progressed = Arc::new(AtomicU64::new(0));
        let desk = Desk {
            slot,
            config,
            clock,
            mailbox,
            orders: Arc::clone(&orders),
            cancel: Arc::clone(&cancel),
            progressed: Arc::clone(&progressed),
            told: Arc::default(),
        };
        let name = format!("object {}", desk.config.name);
        let thread = thread::Builder::new().name(name).spawn(move || desk.work())?;
        Ok(Self { orders, thread: thread.thread().clone(), cancel, progressed })
    }

    /// Hands an order over.
    pub(crate) fn order(&self, order: Order) {
        self.orders.give(order, &self.thread);
    }
}

/// The worker's own end.
struct Desk {
    slot: Slot,
    config: Arc<ObjectConfig>,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    orders: Arc<handover::Orders<Order>>,
    cancel: Arc<AtomicBool>,
    progressed: Arc<AtomicU64>,
    told: Arc<AtomicU32>,
}

impl Desk {
    fn work(&self) {
        let slot = self.slot;
        loop {
            match self.orders.next() {
                Order::Open(remains) => {
                    self.close(remains);
                    self.mailbox.post(Report::Opened { slot, outcome: self.open() });
                }
                Order::Run { mut object, table, mut job, deadline } => {
                    let surroundings = Surroundings {
                        clock: self.clock,
                        cancel: &self.cancel,
                        progressed: &self.progressed,
                        way: Some((slot, &self.mailbox, &self.told)),
                    };
                    let end = run(&mut *object, &table, &mut job, deadline, &surroundings);
                    self.mailbox.post(Report::Ran { slot, object, job, end });
                }
                Order::Stop(object) => {
                    self.close(object);
                    self.mailbox.post(Report::Stopped { slot });
                    return;
                }
            }
        }
    }

    fn open(&self) -> Result<(Box<dyn Object>, Arc<Table>), Fault> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let object = (self.config.opener)()?;
            let table = Arc::new(Table::new(&*object, &self.config));
            Ok((object, table))
        }));
        opened.unwrap_or_else(|panic| {
            let (name, said) = (&self.config.name, what_it_said(&*panic));
            Err(Fault::runtime_error(format!("object '{name}' panicked as it was opened: {said}")))
        })
    }

    /// Closes an object, which may take its time, and may go wrong.
    fn close(&self, object: Option<Box<dyn Object>>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(object))) {
            let (name, said) = (&self.config.name, what_it_said(&*panic));
            log::warn!("object '{name}' panicked as it was closed: {said}");
        }
    }
}

/// What a call is run in.
pub(crate) struct Surroundings<'a> {
    pub(crate) clock: Clock,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) progressed: &'a AtomicU64,
    /// Whose progress it is, where it goes, and what counts it; nowhere from a call that the router runs itself,
    /// which has no time for it.
    pub(crate) way: Option<(Slot, &'a Mailbox, &'a Arc<AtomicU32>)>,
}

/// Runs a call, or what is left of it.
///
/// The last look at the clock is taken here, right before the driver.
pub(crate) fn run(
    object: &mut dyn Object,
    table: &Table,
    job: &mut Job,
    deadline: Option<Uptime>,
    surroundings: &Surroundings<'_>,
) -> End {
    let late = deadline.is_some_and(|deadline| deadline <= surroundings.clock.now());
    if late || surroundings.cancel.load(Relaxed) {
        return End::Lapsed;
    }
    let caught = catch_unwind(AssertUnwindSafe(|| enter(object, table, job, surroundings)));
    let outcome = caught.unwrap_or_else(|panic| {
        let (object, method, said) = (job.object(), job.method(), what_it_said(&*panic));
        let message = format!("object '{object}' panicked in {method}(): {said}");
        let fault = Fault::runtime_error(message)
            .hint("this is a fault of its driver; the object is opened anew");
        Ok(Flow::Lost(Lost { fault, executed: Executed::Unknown, reason: None }))
    });
    match outcome {
        Ok(Flow::Done) => {
            job.finish();
            End::Done
        }
        Ok(Flow::Later(later)) => {
            job.resume = Some(later.run);
            End::Waiting(later.at)
        }
        Ok(Flow::Lost(lost)) => {
            job.lost = Some(lost);
            End::Lost
        }
        Err(fault) => {
            let executed = if fault.before { Executed::No } else { Executed::Yes };
            job.fail(&fault, executed, None);
            job.fault = Some(Box::new(fault));
            End::Done
        }
    }
}

/// Calls the driver.
fn enter(
    object: &mut dyn Object,
    table: &Table,
    job: &mut Job,
    surroundings: &Surroundings<'_>,
) -> Result<Flow, Fault> {
    const NOBODY: &Principal = &Principal::local();
    let principal = job.peer.as_ref().map_or(NOBODY, |peer| &peer.principal);
    let host =
        Caller { surroundings, peer: job.peer.as_ref().filter(|_| job.progress), to: job.to };
    let cx = Context::new(&host, job.expires, principal);
    let out = &mut job.reply;
    reply::begin(out, &job.to);
    if let Some(rest) = job.resume.take() {
        return rest(object, &cx, out);
    }
    let place = job.place;
    let (proc, args) = place.read(&job.request).unwrap_or(("", Args::NONE));
    match place.op {
        Op::Get => object.get(table.attribute(proc)?, &cx, out),
        Op::Set => {
            let attribute = table.attribute(proc)?;
            let mut values = args.positional.iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                let count = args.positional.len();
                let message = format!("setting '{proc}' takes one value, not {count}");
                return Err(Fault::type_error(message).before());
            };
            object.set(attribute, value, &cx, out)
        }
        _ => object.call(table.method(proc)?, args, &cx, out),
    }
}

/// What a driver sees of its caller.
struct Caller<'a> {
    surroundings: &'a Surroundings<'a>,
    /// Who wants to be told of progress.
    peer: Option<&'a Arc<Peer>>,
    to: ReplyTo,
}

impl Host for Caller<'_> {
    fn now(&self) -> Uptime {
        self.surroundings.clock.now()
    }

    fn is_cancelled(&self) -> bool {
        self.surroundings.cancel.load(Relaxed)
    }

    fn progress(&self, done: u64, total: u64, text: &str) {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        self.surroundings.progressed.store(now, Relaxed);
        let (Some(peer), Some((slot, mailbox, told))) = (self.peer, self.surroundings.way) else {
            return;
        };
        // Only this thread adds to it.
        if told.load(Relaxed) >= TOLD {
            return;
        }
        told.fetch_add(1, Relaxed);
        let mut message = Vec::new();
        reply::progress(&mut message, &self.to, done, total, text);
        let (peer, told) = (Arc::clone(peer), Arc::clone(told));
        mailbox.post(Report::Progress { slot, peer, message, told });
    }
}

/// The message of a panic.
fn what_it_said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // Somebody threw a value that is no text.
    text.unwrap_or("(no message)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bell::Bell;
    use proximity_proto::call::Codec;

    #[test]
    fn a_call_that_tells_of_its_progress_without_end_fills_no_memory() {
        let mailbox = Mailbox::new(Arc::new(Bell::new().unwrap()));
        let (cancel, progressed, told) = Default::default();
        let surroundings = Surroundings {
            clock: Clock::start(),
            cancel: &cancel,
            progressed: &progressed,
            way: Some((0, &mailbox, &told)),
        };
        let peer = Peer::nobody();
        let to = ReplyTo { version: 2, codec: Codec::MessagePack, id: None, epoch: 1 };
        let caller = Caller { surroundings: &surroundings, peer: Some(&peer), to };
        let pending = || std::iter::from_fn(|| mailbox.take());
        (0..1000).for_each(|step| caller.progress(step, 1000, ""));
        assert_eq!(pending().count(), TOLD as usize);
        // What the router has read makes room.
        told.fetch_sub(1, Relaxed);
        (0..1000).for_each(|step| caller.progress(step, 1000, ""));
        assert_eq!(pending().count(), 1);
    }
}

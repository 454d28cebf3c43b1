//! One run: clients, a network, an agent that crashes, stops and drains, and its boards, in simulated
//! time. Everything follows from the seed.

use crate::{
    agent::{Agent, Step},
    board::Board,
    client::{Answer, Client, Message, Timer},
    line::Letter,
    plan::Plan,
    record::Record,
    rng::Rng,
};
use proximity_session::{Event, ObjectId};
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Microseconds since the run began.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1000;

/// Something that is due.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A message comes to the agent.
    Arrive(Message),
    /// The same message once more, to the same life of the agent: a connection does not outlive it.
    ArriveAgain(u32, Message),
    /// A message comes to a client.
    Answer(usize, Answer),
    /// Something comes to a client down the line of its connection; what it weighed there is free then.
    Deliver(Letter),
    /// The agent of that life learns that so many bytes have left.
    Left(u32, u64),
    /// The agent of that life has waited long for so many bytes to leave.
    Impatient(u32, u64),
    /// The agent of that life wanted to send more parts of large results.
    Pump(u32),
    /// A client's clock rings.
    Client(usize, Timer),
    /// A worker of that life of the agent takes its next step.
    Worker(u32, ObjectId, Step),
    /// The session of that life wanted to be woken.
    Tick(u32),
    /// The agent of that life learns that a connection is gone.
    PeerGone(u32, u64),
    /// kill -9, SIGTERM, SIGHUP or SIGSTOP.
    Trouble,
    /// The agent starts again.
    Restart,
}

impl Happening {
    /// Whether the agent's process has to run for it.
    fn needs_agent(&self) -> bool {
        matches!(
            self,
            Self::Arrive(_)
                | Self::ArriveAgain(..)
                | Self::Worker(..)
                | Self::Tick(_)
                | Self::Left(..)
                | Self::Impatient(..)
                | Self::Pump(_)
                | Self::PeerGone(..)
                | Self::Trouble
        )
    }
}

#[derive(Debug)]
struct Due {
    at: Time,
    order: u64,
    what: Happening,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) agent: Agent,
    pub(crate) clients: Vec<Client>,
    pub(crate) boards: Vec<Board>,
    pub(crate) record: Record,
    due: BinaryHeap<Reverse<Due>>,
    orders: u64,
    peers: u64,
}

impl World {
    /// Runs the world of a seed to its end.
    pub(crate) fn run(seed: u64, plan: Plan) -> Record {
        let mut rng = Rng::new(seed);
        // Some boards answer at once, some take a third of a second.
        let slowness = [MS, 5 * MS, 50 * MS, 300 * MS];
        let boards = (0..plan.boards).map(|_| Board::new(slowness[rng.pick(4)])).collect();
        let clients = (0..plan.clients).map(|index| Client::new(index, &plan, &mut rng)).collect();
        let mut world = Self {
            now: 0,
            rng,
            plan,
            agent: Agent::default(),
            clients,
            boards,
            record: Record::default(),
            due: BinaryHeap::new(),
            orders: 0,
            peers: 0,
        };
        world.restart();
        for client in 0..plan.clients {
            world.reconnect(client);
            world.after(0, Happening::Client(client, Timer::Next));
        }
        world.plan_trouble();
        world.run_dry();
        world.check_budget_is_back();
        // Whatever is left in the agent must end now.
        world.feed(Event::Drain);
        world.run_dry();
        world.check_ends();
        world.record.check();
        world.record
    }

    fn run_dry(&mut self) {
        while let Some(Reverse(due)) = self.due.pop() {
            if self.record.violation.is_some() {
                return;
            }
            self.now = due.at;
            if due.what.needs_agent() && self.now < self.agent.stopped_until {
                if let Happening::Worker(life, object, Step::Touch) = due.what {
                    self.stopped_before_touch(life, object);
                }
                self.due.push(Reverse(Due { at: self.agent.stopped_until, ..due }));
                continue;
            }
            self.happen(due.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive(message) => self.arrive(message),
            Happening::ArriveAgain(life, message) if life == self.agent.life => {
                self.receive(message);
            }
            Happening::ArriveAgain(..) => {}
            Happening::Answer(client, answer) => {
                match self.clients[client].deaf_until.checked_sub(self.now) {
                    None | Some(0) => self.answered(client, answer),
                    Some(wait) => self.after(wait, Happening::Answer(client, answer)),
                }
            }
            Happening::Deliver(letter) => self.deliver(letter),
            Happening::Left(life, number) => self.left(life, number),
            Happening::Impatient(life, number) => self.impatient(life, number),
            Happening::Pump(life) => self.pump_again(life),
            Happening::Client(client, timer) => self.client_timer(client, timer),
            Happening::Worker(life, object, step) => self.worker(life, object, step),
            Happening::Tick(life) => self.tick(life),
            Happening::PeerGone(life, peer) => self.peer_gone(life, peer),
            Happening::Restart => self.restart(),
            Happening::Trouble => self.trouble(),
        }
    }

    /// Something goes wrong with the agent, and again later, as long as anybody calls.
    fn trouble(&mut self) {
        match self.rng.pick(8) {
            0..=3 => self.crash(),
            4 => self.feed(Event::Drain),
            5 => self.reload(),
            _ => self.stop(),
        }
        self.plan_trouble();
    }

    /// SIGSTOP, and SIGCONT some time later.
    pub(crate) fn stop(&mut self) {
        self.agent.stopped_until = self.now + self.rng.between(MS, 1500 * MS);
    }

    fn plan_trouble(&mut self) {
        if self.clients.iter().any(|client| !client.is_finished()) {
            let wait = self.rng.between(50 * MS, self.plan.trouble);
            self.after(wait, Happening::Trouble);
        }
    }

    /// Has something happen so many microseconds from now.
    pub(crate) fn after(&mut self, wait: Time, what: Happening) {
        self.orders += 1;
        self.due.push(Reverse(Due { at: self.now + wait, order: self.orders, what }));
    }

    /// Has a message take its way: it may be lost, or take long.
    pub(crate) fn send(&mut self, what: Happening) {
        if self.rng.chance(self.plan.loss) {
            return;
        }
        let wait = self.delay();
        self.after(wait, what);
    }

    pub(crate) fn delay(&mut self) -> Time {
        let most = if self.rng.chance(200) { self.plan.delay } else { 2 * MS };
        self.rng.between(100, most)
    }

    pub(crate) fn fresh_peer(&mut self) -> u64 {
        self.peers += 1;
        self.peers
    }
}

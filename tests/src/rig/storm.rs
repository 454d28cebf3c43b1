//! Many clients of an agent that goes away for some seconds: how soon they are back, and how hard they
//! knock meanwhile.

use super::{Tolerance, figures::Figures, parts::Run, verdict::Verdict};
use crate::{PATIENCE, process::Agent};
use proximity_client::Client;
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What happens after this time goes on for hours.
const SETTLED: Duration = Duration::from_secs(2);
/// All are back after this.
const BACK: Duration = Duration::from_secs(2);
/// Attempts to connect in a second: so many for a thousand clients.
const ATTEMPTS: u64 = 1500;
const LOOK: Duration = Duration::from_millis(20);
const WINDOW: Duration = Duration::from_secs(1);

/// Has `run.count` clients, each in a call nearly all the time, and an agent that goes away so many
/// `times`, for so long.
///
/// # Panics
///
/// If an agent does not come up.
pub fn storm(run: &Run, times: u32, away: Duration) -> Verdict {
    let objects = format!(
        "connections = {}\n[objects.tally]\ndriver = \"counter\"\n",
        run.count.saturating_add(100).max(512)
    );
    let mut agent = Agent::start(&objects);
    let stage = Stage::default();
    let errors = Mutex::new(Vec::new());
    let (mut backs, mut most) = (Vec::new(), 0);
    let mut verdict = Verdict::default();
    thread::scope(|scope| {
        for _ in 0..run.count {
            let endpoint = agent.endpoint.clone();
            let (stage, errors) = (&stage, &errors);
            scope.spawn(move || {
                let client = Client::new(&endpoint).expect("an address").with_timeout(PATIENCE);
                let tally = client.object("tally");
                let mut last = 0;
                while let Some(number) = stage.call(last) {
                    match tally.get("value") {
                        Ok(_) => {
                            last = number;
                            stage.served(number);
                        }
                        Err(error) => lock(errors).push(error.to_string()),
                    }
                }
            });
        }
        stage.next(Some(1));
        let mut back = stage.wait_for(run.count);
        for time in 0..times {
            agent.process.kill();
            // Whoever is in no call makes one now, and waits in it.
            let number = u64::from(time) + 2;
            stage.next(Some(number));
            let killed = Instant::now();
            let mut attempts = Attempts::default();
            while killed.elapsed() < away {
                thread::sleep(LOOK);
                if killed.elapsed() > SETTLED {
                    attempts.look();
                }
            }
            agent.restart(&objects);
            let ready = Instant::now();
            back &= stage.wait_for(run.count);
            backs.push(ready.elapsed());
            attempts.look();
            most = most.max(attempts.most);
        }
        stage.next(None);
        if !back {
            verdict.broken.push(format!("some clients are not back after {PATIENCE:?}"));
        }
    });
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    judge(run, &mut verdict, &mut backs, most, &errors);
    verdict
}

/// What the clients do now.
#[derive(Default)]
struct Stage {
    now: Mutex<Now>,
    began: Condvar,
    counted: Condvar,
}

#[derive(Default)]
struct Now {
    /// Each is to have one answer in each run of the agent.
    run: u64,
    served: u64,
    over: bool,
}

impl Stage {
    /// Begins the next run, or ends.
    fn next(&self, run: Option<u64>) {
        let mut now = lock(&self.now);
        *now = Now { run: run.unwrap_or(now.run), served: 0, over: run.is_none() };
        self.began.notify_all();
    }

    /// Waits until a client that was served in the run `last` is to call; gives the run.
    fn call(&self, last: u64) -> Option<u64> {
        let now = lock(&self.now);
        let waited = self.began.wait_while(now, |now| !now.over && now.run == last);
        let now = waited.unwrap_or_else(PoisonError::into_inner);
        (!now.over).then_some(now.run)
    }

    fn served(&self, run: u64) {
        let mut now = lock(&self.now);
        now.served += u64::from(now.run == run);
        self.counted.notify_all();
    }

    /// Waits until so many clients were served; false if some are not in time.
    fn wait_for(&self, count: u64) -> bool {
        let now = lock(&self.now);
        let waited = self.counted.wait_timeout_while(now, PATIENCE, |now| now.served < count);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn judge(run: &Run, verdict: &mut Verdict, backs: &mut [Duration], most: u64, errors: &[String]) {
    let figures: &mut Figures = &mut verdict.figures;
    figures.count("clients", run.count);
    figures.count("restarts", backs.len() as u64);
    figures.count("attempts_a_second_most", most);
    figures.count("failed_calls", errors.len() as u64);
    figures.times("all_back", backs);
    let late = run.tolerance.answer.saturating_sub(Tolerance::PROMISED.answer);
    let longest = backs.iter().max().copied().unwrap_or_default();
    if longest > BACK + late {
        verdict.broken.push(format!("slow_return: the last client was back after {longest:?}"));
    }
    // The count is the machine's: other programs' attempts are in it, and only make it larger. With few
    // clients they may be most of it.
    let allowed = run.count * ATTEMPTS / 1000;
    if run.count >= 500 && most > allowed {
        verdict.broken.push(format!("storm: {most} attempts in a second, {allowed} are allowed"));
    }
    if let Some(error) = errors.first() {
        verdict.broken.push(format!("{} calls failed: {error}", errors.len()));
    }
}

/// Counts connections that anybody in this network namespace begins.
#[derive(Default)]
struct Attempts {
    seen: Vec<(Instant, u64)>,
    /// In any second.
    most: u64,
}

impl Attempts {
    fn look(&mut self) {
        let now = (Instant::now(), active_opens());
        self.seen.retain(|(at, _)| now.0.duration_since(*at) <= WINDOW);
        self.seen.push(now);
        if let Some((_, first)) = self.seen.first() {
            self.most = self.most.max(now.1.saturating_sub(*first));
        }
    }
}

fn active_opens() -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/snmp").expect("a Linux kernel");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let found = names.split(' ').zip(numbers.split(' ')).find(|(name, _)| *name == "ActiveOpens");
    found.and_then(|(_, number)| number.parse().ok()).expect("the kernel counts connections")
}

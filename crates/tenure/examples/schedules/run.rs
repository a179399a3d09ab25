//! One schedule, from its seed to its verdict.
//!
//! Owns the processes: each has a runtime, a clock and a client. Moves time to whatever happens
//! next, lets run who was woken, and shows the judges what is held whenever all have come to rest.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tenure::Client;
use tenure::store::Store;
use tenure::testing::ManualClock;
use tenure_kube::{Format, KubeStore, Object};
use tenure_testkit::prove::{Job, Ran};
use tenure_testkit::schedule::{self, Holding, Notice, Setting};
use tokio::runtime::{Builder, Runtime};

use crate::cut;
use crate::user::{BOOK, Book, Me, user};

/// How many users a process has.
const USERS: usize = 2;
/// Rounds in which everything that is woken runs.
const ROUNDS: usize = 6;
/// The same where a request goes from task to task before it leaves.
const ROUNDS_OF_TASKS: usize = 48;
/// More turns than this at one instant, and it never comes to rest.
const TURNS_MAX: usize = 1_000;

struct Process {
    number: usize,
    runtime: Runtime,
    clock: ManualClock,
    client: Client,
    rate: u64,
    /// The time of its runtime, which has timers of its own, as far as it has come.
    timers: Option<Cell<Duration>>,
}

struct Run {
    now: u64,
    kube: bool,
    setting: Setting,
    processes: Vec<Process>,
    lives: Vec<u32>,
}

/// Runs one schedule.
pub(crate) fn run(Job { seed, cut, kube, telling }: Job) -> Ran {
    let setting = match kube {
        true => schedule::begin_with_cluster(seed, telling),
        false => schedule::begin(seed, telling),
    };
    cut::begin(cut);
    BOOK.set(Book::default());
    let lives = vec![0; setting.processes];
    let mut run = Run { now: 0, kube, lives, processes: vec![], setting };
    for number in 0..run.setting.processes {
        let process = run.process(number);
        run.processes.push(process);
    }
    let end = run.setting.end;
    run.until(end, |_| false);
    run.close();
    drop(run);
    let polls = cut::polls();
    Ran { finished: schedule::end(polls.len() as u64), polls }
}

impl Run {
    fn process(&self, number: usize) -> Process {
        let (clock, life) = (ManualClock::new(), self.lives[number]);
        let mut builder = Builder::new_current_thread();
        if self.kube {
            builder.enable_time().start_paused(true);
        }
        let runtime = builder.build().expect("a runtime");
        let store: Arc<dyn Store> = if self.kube {
            let _entered = runtime.enter();
            let client = schedule::client(number, life);
            let store = KubeStore::with_format(client, "default", self.format());
            Arc::new(store.expect("a namespace and a runtime"))
        } else {
            schedule::store(number, life)
        };
        let client = Client::with_clock(store, &clock);
        let process = Process {
            number,
            runtime,
            clock: clock.clone(),
            client: client.clone(),
            rate: self.setting.rates[number],
            timers: self.kube.then(Cell::default),
        };
        process.to(self.now);
        for _ in 0..USERS {
            let setting = self.setting.clone();
            let (client, clock) = (client.clone(), clock.clone());
            let me = Me { process: number, life, client, clock, setting };
            process.runtime.spawn(user(me));
        }
        process.settle();
        process
    }

    fn format(&self) -> Format {
        match self.setting.format {
            None | Some(schedule::Format::Lease) => Format::Lease,
            Some(schedule::Format::ConfigMap) => Format::ConfigMap,
            Some(schedule::Format::Janus) => Format::Janus,
            Some(kept @ schedule::Format::Annotation) => {
                let object = Object::new("v1/configmaps", kept.object());
                Format::Annotation(object.expect("a resource and a name"))
            }
        }
    }

    /// Goes on until `end`, or until `done` says so at some instant.
    fn until(&mut self, end: u64, done: impl Fn(&Self) -> bool) {
        while !schedule::is_broken() {
            self.settle();
            self.judge();
            let next = self.next().min(end);
            if self.now >= end || done(self) {
                return;
            }
            self.now = next.max(self.now);
            BOOK.with_borrow_mut(|b| b.now = self.now);
            self.step();
        }
    }

    /// When the next thing happens, in the world or in a process.
    fn next(&self) -> u64 {
        let own = self.processes.iter().map(|p| match schedule::frozen_until(p.number) {
            thaw if thaw > self.now => thaw,
            _ => p.alarm_at(),
        });
        own.min().unwrap_or(u64::MAX).min(schedule::next_at())
    }

    /// Lets everything happen that is due.
    fn step(&mut self) {
        for notice in schedule::step(self.now) {
            if let Notice::Died(number) = notice {
                self.dies(number);
            }
        }
    }

    /// A process ends without a word, and another takes its place.
    fn dies(&mut self, number: usize) {
        self.lives[number] += 1;
        schedule::reborn(number);
        let next = self.process(number);
        let dead = std::mem::replace(&mut self.processes[number], next);
        drop(dead);
    }

    /// Lets run who was woken, until nobody is.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut any = false;
            for process in &self.processes {
                if schedule::frozen_until(process.number) > self.now {
                    continue;
                }
                let rings = process.alarm_at() <= self.now;
                process.to(self.now);
                if schedule::is_woken(process.number) || rings {
                    process.settle();
                    any = true;
                }
            }
            if schedule::next_at() <= self.now {
                self.step();
                any = true;
            }
            if !any {
                return;
            }
        }
        schedule::judged("rest", Some("the processes never come to rest".to_owned()));
    }

    fn judge(&self) {
        let (holdings, wants) = BOOK.with_borrow(|book| {
            let holding = |(operation, process, hold): &(u32, usize, tenure::Hold)| Holding {
                process: *process,
                until: hold
                    .deadline()
                    .map(|at| nanos(self.processes[*process].clock.elapsed() + at.remaining())),
                number: u64::from(*operation),
            };
            let holdings: Vec<_> = book.holds.iter().map(holding).collect();
            (holdings, book.wants.iter().map(|(.., since)| *since).min())
        });
        schedule::look(&holdings, wants);
        BOOK.with_borrow(|book| {
            let over =
                |id: &str| book.over.iter().find(|(over, _)| over == id).map(|(_, since)| *since);
            schedule::look_at_record(over);
        });
    }

    /// Closes every client: everything is undone in time, and nothing is left that runs.
    fn close(&mut self) {
        for process in &self.processes {
            let client = process.client.clone();
            process.runtime.spawn(async move { client.close().await });
            process.settle();
        }
        let limit = self.now + 8 * nanos(self.setting.timing.ttl());
        // The task that keeps holds ends with its client, and so does that of a client of a cluster.
        let lasts = if self.kube { 2 } else { 1 };
        self.until(limit, |run| run.processes.iter().all(|p| p.tasks() <= lasts));
        for process in &self.processes {
            let left = process.tasks();
            let left = (left > lasts)
                .then(|| format!("p{}: {left} tasks run after the close", process.number));
            schedule::judged("dropped", left);
        }
        for process in std::mem::take(&mut self.processes) {
            let Process { number, runtime, clock, client, .. } = process;
            drop(client);
            settle(&runtime, ROUNDS_OF_TASKS);
            let tasks = runtime.metrics().num_alive_tasks();
            let left = (tasks > 0 || clock.next_alarm().is_some())
                .then(|| format!("p{number}: {tasks} tasks and {:?} left", clock.next_alarm()));
            schedule::judged("dropped", left);
        }
    }
}

impl Process {
    /// Moves its clock to this instant of true time.
    fn to(&self, now: u64) {
        let shows = Duration::from_nanos(now * self.rate / 1_000_000);
        let by = shows.saturating_sub(self.clock.elapsed());
        if !by.is_zero() {
            self.clock.advance(by);
        }
        if let Some(timers) = &self.timers {
            let by = shows.saturating_sub(timers.get());
            if !by.is_zero() {
                self.runtime.block_on(tokio::time::advance(by));
                timers.set(shows);
            }
        }
    }

    /// When in true time its clock rings next.
    fn alarm_at(&self) -> u64 {
        let Some(left) = self.clock.next_alarm() else { return u64::MAX };
        let at = nanos(self.clock.elapsed().saturating_add(left));
        u64::try_from(u128::from(at) * 1_000_000 / u128::from(self.rate) + 1).unwrap_or(u64::MAX)
    }

    fn settle(&self) {
        settle(&self.runtime, if self.timers.is_some() { ROUNDS_OF_TASKS } else { ROUNDS });
    }

    fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }
}

fn settle(runtime: &Runtime, rounds: usize) {
    runtime.block_on(async {
        for _ in 0..rounds {
            tokio::task::yield_now().await;
        }
    });
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

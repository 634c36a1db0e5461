//! Measurements of a flow: warm-up, measurement, and what was on its way at the end.
use super::engine::{self, Clock, Outcome, Phase, Shared, Worker};
use super::hello::{Hello, Target};
use super::herd::{Entry, Herd, Step};
use super::pace::Delays;
use super::plan::{Plan, Shape};
use super::process::Usage;
use super::progress::Progress;
use super::report::{self, Check, Delay, Figure};
use super::socket::Connection;
use super::wire::Keep;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time without any arrival after which what is on its way counts as lost.
const STALL: Duration = Duration::from_secs(10);
/// Time between two looks at the loops.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that are made at once.
pub(super) const AT_ONCE: Entry = Entry { at_once: 64, rate: None };

/// How long it takes; a count of messages takes what it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

/// What a flow found.
pub(super) struct Flow {
    pub(super) figures: Vec<Figure>,
    pub(super) delays: Vec<Delay>,
    pub(super) check: Check,
}

/// Connects publishers, subscribers, and subscribers that never read, in this order.
pub(super) fn connect(plan: &Plan, target: &Target, progress: &mut Progress) -> io::Result<Vec<Connection>> {
    let publishers = plan.shape.publishers();
    let frozen = publishers + plan.shape.subscribers();
    let filter = |client: usize| {
        let subscriber = client.checked_sub(publishers)?;
        Some(plan.filter(if client < frozen { subscriber } else { 0 }))
    };
    let mut hello = Hello { qos: plan.qos, window: plan.window, filter: &filter, ..Hello::new(target) };
    let mut herd = Herd::new(target.address)?;
    progress.begin("connecting");
    herd.run(0..publishers, AT_ONCE, &mut hello, progress)?.complete("connecting")?;
    if plan.persistent {
        hello.keep = Keep::New;
    }
    herd.run(publishers..frozen + plan.frozen, AT_ONCE, &mut hello, progress)?.complete("connecting")?;
    herd.into_connections()
}

/// Removes the sessions of the subscribers.
pub(super) fn forget(plan: &Plan, target: &Target, progress: &mut Progress) -> io::Result<()> {
    let mut hello = Hello { end: Step::Leave, ..Hello::new(target) };
    let first = plan.shape.publishers();
    progress.begin("removing sessions");
    let mut herd = Herd::new(target.address)?;
    let subscribers = first..first + plan.shape.subscribers() + plan.frozen;
    herd.run(subscribers, AT_ONCE, &mut hello, progress)?.complete("removing sessions").map(drop)
}

/// A look at the counts and the processes.
struct Look {
    at: Instant,
    published: u64,
    delivered: u64,
    broker: Option<Usage>,
    own: Option<Usage>,
}

/// The loops while they run.
struct Loops {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<Outcome>>>,
    /// Connections that nobody reads.
    _frozen: Vec<Connection>,
    pid: Option<u32>,
    /// Deliveries when there were last new ones, and when that was.
    moved: (u64, Instant),
}

/// Measures a flow over these connections: publishers first, then subscribers.
pub(super) fn run(
    plan: &Plan,
    connections: Vec<Connection>,
    times: Times,
    pid: Option<u32>,
    progress: &mut Progress,
) -> io::Result<Flow> {
    let plan = Arc::new(plan.clone());
    let start = Instant::now();
    let nanoseconds = |time: Duration| time.as_nanos() as u64;
    let measured = match plan.count {
        Some(_) => 0..u64::MAX,
        None => nanoseconds(times.warm_up)..nanoseconds(times.warm_up + times.length),
    };
    let mut loops = Loops::start(&plan, connections, &Clock { start, measured }, pid)?;
    let (before, after) = if let Some(count) = plan.count {
        progress.begin("publishing");
        let before = Look { at: start, published: 0, delivered: 0, ..loops.look() };
        let all = count * plan.shape.publishers() as u64;
        loops.wait(progress, |loops| loops.published() >= all);
        (before, None)
    } else {
        progress.begin("warming up");
        loops.wait(progress, |_| start.elapsed() >= times.warm_up);
        let before = loops.look();
        progress.begin("measuring");
        loops.wait(progress, |_| before.at.elapsed() >= times.length);
        (before, Some(loops.look()))
    };
    loops.drain(progress);
    // Those who count messages have measured until the last arrived.
    let late = loops.look();
    let (outcomes, counts) = loops.stop()?;
    let last = outcomes.iter().map(|outcome| outcome.last).max().unwrap_or(start);
    let after = after.unwrap_or(Look { at: last.max(start), ..late });
    Ok(results(&plan, &before, &after, &outcomes, counts))
}

impl Loops {
    fn start(plan: &Arc<Plan>, connections: Vec<Connection>, clock: &Clock, pid: Option<u32>) -> io::Result<Self> {
        let polls = (0..plan.threads).map(|_| engine::poll()).collect::<io::Result<Vec<_>>>()?;
        let (polls, wakers): (Vec<_>, Vec<_>) = polls.into_iter().unzip();
        let shared = Arc::new(Shared::new(plan, wakers));
        let mut connections: Vec<Option<Connection>> = connections.into_iter().map(Some).collect();
        let first = plan.shape.publishers();
        let mut workers = Vec::new();
        for (thread, poll) in polls.into_iter().enumerate() {
            let shape: &Shape = &plan.shape;
            let publishers = shape.publishers_of(thread, plan.threads);
            let subscribers: Range<usize> = shape.subscribers_of(thread, plan.threads);
            let own = publishers.chain(subscribers.start + first..subscribers.end + first);
            let own = own.filter_map(|number| connections[number].take()).collect();
            workers.push(Worker::new(plan.clone(), shared.clone(), thread, poll, own, clock.clone())?);
        }
        let threads = workers.into_iter().map(|worker| std::thread::spawn(|| worker.run())).collect();
        let frozen = connections.into_iter().flatten().collect();
        Ok(Self { shared, threads, _frozen: frozen, pid, moved: (0, Instant::now()) })
    }

    fn published(&self) -> u64 {
        self.shared.sum(|counters| &counters.published)
    }

    fn delivered(&self) -> u64 {
        self.shared.sum(|counters| &counters.delivered)
    }

    fn look(&self) -> Look {
        Look {
            at: Instant::now(),
            published: self.published(),
            delivered: self.delivered(),
            broker: self.pid.and_then(Usage::of),
            own: Usage::own(),
        }
    }

    /// Waits for something, or for the end of a loop, which is a failure; has the loops go on where nothing comes.
    fn wait(&mut self, progress: &mut Progress, done: impl Fn(&Self) -> bool) {
        let (start, before) = (Instant::now(), self.delivered());
        while !done(self) && !self.threads.iter().any(JoinHandle::is_finished) {
            std::thread::sleep(LOOK);
            if self.note() > STALL {
                self.shared.give_up();
                self.moved.1 = Instant::now();
            }
            let seconds = start.elapsed().as_secs_f64();
            progress.show_now(|| {
                let delivered = self.delivered() - before;
                format!("{seconds:.1} s, {:.0} messages/s", report::amount(delivered) / seconds)
            });
        }
    }

    /// Notes whether there are new deliveries; the time since the last.
    fn note(&mut self) -> Duration {
        let delivered = self.delivered();
        if delivered != self.moved.0 {
            self.moved = (delivered, Instant::now());
        }
        self.moved.1.elapsed()
    }

    /// Receives what is on its way.
    fn drain(&mut self, progress: &mut Progress) {
        self.shared.tell(Phase::Drain);
        progress.begin("waiting for the rest");
        self.moved.1 = Instant::now();
        while self.shared.sum(|counters| &counters.open) > 0 && self.note() < STALL {
            if self.threads.iter().any(JoinHandle::is_finished) {
                return;
            }
            std::thread::sleep(LOOK / 4);
        }
    }

    /// Ends the loops; what they found, and all that was published and delivered.
    fn stop(self) -> io::Result<(Vec<Outcome>, (u64, u64))> {
        self.shared.tell(Phase::Stop);
        let outcomes = self.threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let outcomes = outcomes.collect::<io::Result<Vec<Outcome>>>()?;
        let published = self.shared.sum(|counters| &counters.published);
        Ok((outcomes, (published, self.shared.sum(|counters| &counters.delivered))))
    }
}

fn results(plan: &Plan, before: &Look, after: &Look, outcomes: &[Outcome], counts: (u64, u64)) -> Flow {
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let (published, delivered) = (after.published - before.published, after.delivered - before.delivered);
    let mut figures: Vec<Figure> = Vec::new();
    figures.extend(report::rate("delivered", delivered, seconds, "messages/s"));
    figures.extend(report::rate("published", published, seconds, "messages/s"));
    figures.extend(report::costs("broker CPU", "µs/message", delivered, before.broker, after.broker));
    figures.extend(report::costs("load CPU", "µs/message", delivered, before.own, after.own));
    figures.extend(after.broker.map(|usage| Figure {
        name: "broker memory".to_owned(),
        value: report::amount(usage.memory),
        unit: "bytes",
        better: "lower",
    }));
    let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let check = Check {
        published: counts.0,
        expected: counts.0 * plan.shape.copies(),
        delivered: counts.1,
        duplicated: sum(|outcome| outcome.duplicated),
        reordered: sum(|outcome| outcome.reordered),
        foreign: sum(|outcome| outcome.foreign),
        unacknowledged: sum(|outcome| outcome.unacknowledged),
        ..Check::default()
    };
    let merged = |delays: fn(&Outcome) -> &Delays| {
        let mut all = Delays::new();
        for outcome in outcomes {
            all.add(delays(outcome));
        }
        all.summary()
    };
    let delays = [
        ("delay from due to arrival", merged(|outcome| &outcome.delays)),
        ("delay from due to sending", merged(|outcome| &outcome.lags)),
    ];
    let delays =
        delays.into_iter().filter_map(|(name, summary)| Some(Delay { name, unit: "µs", summary: summary? })).collect();
    Flow { figures, delays, check: check.judged() }
}

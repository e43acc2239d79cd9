//! Carries a timeline of faults out on the processes of a local dev deployment.
//!
//! A signal goes only to a process whose start time is the one that `dev.json` names. Starts no process, not even again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_env::Clock;
use futures::future::join_all;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    faults::{Action, Fault, SUPERNODES, Who},
    watch::{IS_LEADER, metric, scrape},
};
use crate::{
    dev::{Dev, Process},
    procfs,
};

/// How long a process may take to say whether it leads; one that takes longer is as good as stopped.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// What a fault did to one process, or why it could do nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, in seconds since the load began.
    pub(crate) at_s: f64,
    /// When it was to be, which tells faults of the same text apart.
    pub(crate) due_s: f64,
    /// The fault as it was written.
    pub(crate) text: String,
    /// What happened, like `killed a-n2 (pid 123)`.
    pub(crate) what: String,
}

/// Says early whether every fault names processes and clusters that exist.
///
/// # Errors
/// Which fault does not, and the names that there are; the timeline must be written differently.
pub(crate) fn check(faults: &[Fault], dev: &Dev) -> Result<(), String> {
    for fault in faults {
        candidates(dev, &fault.who).map_err(|why| format!("'{}' can't be done: {why}", fault.text))?;
    }
    Ok(())
}

/// Carries faults out. Dropped, it lets every process go on that it stopped.
pub(crate) struct Injector {
    dev: Arc<Dev>,
    clock: Arc<dyn Clock>,
    stopped: Stopped,
}

impl Injector {
    /// Makes ready; sends nothing.
    pub(crate) fn new(dev: Arc<Dev>, clock: Arc<dyn Clock>) -> Self {
        Self { dev, clock, stopped: Stopped::default() }
    }

    /// Carries out all faults at their times after `start` and gives what happened: one event per process, and one when a
    /// stop ends by itself.
    ///
    /// Does not return while a process is stopped that no fault lets go on: returning would do it. Drop the future when the
    /// load is over.
    ///
    /// # Cancel safety
    /// Dropped at any moment, it lets every process go on that it stopped; those it killed stay killed.
    pub(crate) async fn run(self, faults: Vec<Fault>, start: Instant, events: Arc<Mutex<Vec<Event>>>) {
        let log = Log { clock: self.clock.clone(), start, events };
        let all = faults.iter().enumerate().map(|(number, fault)| self.carry_out(number, fault, &log));
        join_all(all).await;
        if !self.stopped.lock().is_empty() {
            pending::<()>().await;
        }
    }

    async fn carry_out(&self, number: usize, fault: &Fault, log: &Log) {
        sleep_until(log.start + fault.at).await;
        let processes = match self.find(&fault.who).await {
            Ok(processes) => processes,
            Err(why) => return log.note(fault, why),
        };
        for process in &processes {
            log.note(fault, self.apply(number, fault.action, process));
        }
        let Action::Stop { thaw_after: Some(wait) } = fault.action else { return };
        sleep(wait).await;
        for process in processes {
            // Else another fault decided in the meantime.
            if self.stopped.is_held_by(process, number) {
                log.note(fault, self.apply(number, Action::Continue, process));
            }
        }
    }

    /// Gives the processes that a fault hits now.
    async fn find(&self, who: &Who) -> Result<Vec<&Process>, String> {
        let candidates = candidates(&self.dev, who)?;
        let found = match who {
            Who::Process(_) | Who::Cluster(_) | Who::All => return Ok(candidates),
            Who::Leader(group) => {
                leader(&self.ask(candidates).await).ok_or_else(|| format!("nobody in '{group}' says that it leads"))
            }
            Who::Follower(group) => {
                follower(&self.ask(candidates).await).ok_or_else(|| format!("nobody in '{group}' says that it follows"))
            }
        };
        found.map(|process| vec![process])
    }

    /// Asks processes for their seats, all at once; those that do not answer are left out.
    async fn ask<'a>(&self, mut processes: Vec<&'a Process>) -> Vec<(&'a Process, Seat)> {
        // Who is stopped here can't answer, and waiting for it would delay the fault.
        processes.retain(|process| !self.stopped.lock().contains_key(&process.pid));
        let pages = join_all(processes.iter().map(|process| scrape(&process.ops, ASK_WITHIN))).await;
        let seats = processes.into_iter().zip(pages);
        seats.filter_map(|(process, page)| Some((process, Seat::of(&page?)?))).collect()
    }

    /// Sends one signal and says what came of it.
    fn apply(&self, number: usize, action: Action, process: &Process) -> String {
        let shown = format!("{} (pid {})", process.name, process.pid);
        let (signal, done) = match action {
            Action::Kill => (Signal::KILL, format!("killed {shown}")),
            Action::Stop { .. } => (Signal::STOP, format!("stopped {shown}")),
            Action::Continue => (Signal::CONT, format!("{shown} goes on")),
        };
        match (send(process, signal), action) {
            (Ok(()), Action::Stop { .. }) => {
                self.stopped.hold(process, number);
                done
            }
            (Ok(()), Action::Kill | Action::Continue) => {
                self.stopped.forget(process);
                done
            }
            (Err(SignalError::Gone), _) => {
                self.stopped.forget(process);
                format!("{shown} is gone")
            }
            (Err(SignalError::Refused(why)), _) => format!("{shown} could not be reached: {why}"),
        }
    }
}

/// Where events go; their number is bounded by faults times processes, twice for stops that end by themselves.
struct Log {
    clock: Arc<dyn Clock>,
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Log {
    fn note(&self, fault: &Fault, what: String) {
        let at_s = self.clock.now().saturating_duration_since(self.start).as_secs_f64();
        let (due_s, text) = (fault.at.as_secs_f64(), fault.text.clone());
        let event = Event { at_s, due_s, text, what };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// The processes that are stopped now, by pid, with the number of the fault that did it last. Lets them go on when dropped.
#[derive(Default)]
struct Stopped(Mutex<BTreeMap<u32, (Process, usize)>>);

impl Stopped {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, (Process, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, process: &Process, fault: usize) {
        self.lock().insert(process.pid, (process.clone(), fault));
    }

    fn forget(&self, process: &Process) {
        self.lock().remove(&process.pid);
    }

    fn is_held_by(&self, process: &Process, fault: usize) -> bool {
        self.lock().get(&process.pid).is_some_and(|(_, by)| *by == fault)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for (process, _) in self.lock().values() {
            if let Err(error) = send(process, Signal::CONT) {
                tracing::warn!(process = process.name, pid = process.pid, %error, "stopped process does not go on");
            }
        }
    }
}

/// Why a process did not get a signal.
#[derive(Debug, thiserror::Error)]
enum SignalError {
    /// It ended; its number may be another process's by now.
    #[error("it is gone")]
    Gone,
    /// The system did not let it.
    #[error("the system refused: {0}")]
    Refused(#[source] Errno),
}

impl SignalError {
    fn of(errno: Errno) -> Self {
        if errno == Errno::SRCH { Self::Gone } else { Self::Refused(errno) }
    }
}

/// Sends a signal to this very process.
fn send(process: &Process, signal: Signal) -> Result<(), SignalError> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(SignalError::Gone)?;
    // The handle is taken first: once it is known to be of this process, the number can't pass to another one.
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(SignalError::of)?;
    let stat = procfs::stat(&process.pid.to_string()).map_err(|_| SignalError::Gone)?;
    if stat.start_ticks != process.start_ticks {
        return Err(SignalError::Gone);
    }
    pidfd_send_signal(handle, signal).map_err(SignalError::of)
}

/// What a process says of its place in its group.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seat {
    leads: bool,
    term: f64,
}

impl Seat {
    fn of(page: &str) -> Option<Self> {
        let leads = metric(page, IS_LEADER)? > 0.0;
        Some(Self { leads, term: metric(page, "flotilla_raft_term").unwrap_or(0.0) })
    }
}

/// Gives the leader; of several, the one of the latest term, since the others do not know yet that they lost.
fn leader<'a>(asked: &[(&'a Process, Seat)]) -> Option<&'a Process> {
    let leaders = asked.iter().filter(|(_, seat)| seat.leads);
    leaders.max_by(|(_, one), (_, other)| one.term.total_cmp(&other.term)).map(|(process, _)| *process)
}

/// Gives the first one that does not lead; every process of a group is a voter of it.
fn follower<'a>(asked: &[(&'a Process, Seat)]) -> Option<&'a Process> {
    asked.iter().find(|(_, seat)| !seat.leads).map(|(process, _)| *process)
}

/// Gives the processes among which a fault finds its own.
fn candidates<'a>(dev: &'a Dev, who: &Who) -> Result<Vec<&'a Process>, String> {
    let matching: Vec<&Process> = dev.processes.iter().filter(|process| is_candidate(process, who)).collect();
    match (who, matching.len()) {
        (Who::Follower(name), 1) => Err(format!("'{name}' has one process, which has no followers")),
        (_, 1..) => Ok(matching),
        (Who::All, 0) => Err("there are no server processes".to_owned()),
        (Who::Process(name), 0) => {
            let names: Vec<&str> = dev.processes.iter().map(|process| process.name.as_str()).collect();
            Err(format!("there is no process '{name}'; there are: {}", names.join(", ")))
        }
        (Who::Leader(name) | Who::Follower(name) | Who::Cluster(name), 0) => {
            let names: BTreeSet<&str> = dev.processes.iter().filter_map(group).collect();
            let names: Vec<&str> = names.into_iter().collect();
            Err(format!("there is no cluster '{name}'; there are: {}", names.join(", ")))
        }
    }
}

fn is_candidate(process: &Process, who: &Who) -> bool {
    match who {
        Who::All => true,
        Who::Process(name) => process.name == *name,
        Who::Leader(name) | Who::Follower(name) | Who::Cluster(name) => group(process) == Some(name.as_str()),
    }
}

/// Gives the group that a process is a member of.
fn group(process: &Process) -> Option<&str> {
    if process.role == "supernode" { Some(SUPERNODES) } else { process.cluster.as_deref() }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        os::unix::process::ExitStatusExt,
        process::{Child, Command},
        sync::{Arc, Mutex},
        time::Duration,
    };

    use flotilla_env::clock;
    use tokio::{
        task::{JoinSet, yield_now},
        time::timeout,
    };

    use super::{Event, Injector, Seat, SignalError, check, follower, leader, send};
    use crate::{
        dev::{Dev, Process},
        load::{
            faults::{self, Action, Fault},
            watch::tests::serve,
        },
        procfs,
    };

    /// How long a process may take to change its state; only a test that fails waits for it.
    const PATIENCE: Duration = Duration::from_secs(10);
    const STOP: Action = Action::Stop { thaw_after: None };

    /// A process that a failing test does not leave behind.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill(); // it may have ended
            let _ = self.0.wait();
        }
    }

    impl Sleeper {
        fn start(name: &str) -> (Self, Process) {
            let child = Command::new("sleep").arg("30").spawn().expect("every system has sleep");
            let pid = child.id();
            let stat = procfs::stat(&pid.to_string()).expect("it runs");
            (Self(child), Process { start_ticks: stat.start_ticks, pid, ..process(name) })
        }

        /// Gives the letter of proc(5): T is stopped, Z has ended.
        fn state(&self) -> char {
            let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it is not reaped");
            let state = text.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
            state.expect("the kernel writes a state")
        }

        async fn until(&self, wanted: impl Fn(char) -> bool) {
            let seen = async {
                while !wanted(self.state()) {
                    yield_now().await;
                }
            };
            timeout(PATIENCE, seen).await.expect("it changes its state");
        }
    }

    fn process(name: &str) -> Process {
        let (role, cluster) = match name.split_once("-n") {
            Some((cluster, _)) => ("node", Some(cluster.to_owned())),
            None => ("supernode", None),
        };
        Process { name: name.to_owned(), role: role.to_owned(), cluster, pid: 0, start_ticks: 0, ops: String::new() }
    }

    fn dev(processes: Vec<Process>) -> Arc<Dev> {
        Arc::new(Dev { processes })
    }

    fn fault(what: &str) -> Fault {
        faults::parse("0s", what).expect("it is a fault")
    }

    type Events = Arc<Mutex<Vec<Event>>>;

    fn run(processes: Vec<Process>, faults: &[&str]) -> (impl Future<Output = ()> + Send + use<>, Events) {
        let (clock, events) = (clock::system(), Events::default());
        let injector = Injector::new(dev(processes), clock.clone());
        let faults = faults.iter().map(|what| fault(what)).collect();
        (injector.run(faults, clock.now(), events.clone()), events)
    }

    fn whats(events: &Events) -> Vec<String> {
        events.lock().expect("no test thread panics").iter().map(|event| event.what.clone()).collect()
    }

    #[tokio::test]
    async fn a_killed_process_ends_and_the_event_names_it() {
        let (mut child, process) = Sleeper::start("a-n1");
        let (run, events) = run(vec![process.clone()], &["kill a-n1"]);
        run.await;
        assert_eq!(child.0.wait().expect("it is our child").signal(), Some(9));
        let events = events.lock().expect("no test thread panics");
        assert_eq!((events.len(), events[0].text.as_str()), (1, "kill a-n1"));
        assert_eq!(events[0].what, format!("killed a-n1 (pid {})", process.pid));
        assert!((0.0..60.0).contains(&events[0].at_s), "{events:?}");
    }

    #[tokio::test]
    async fn a_stopped_process_stops_and_a_continued_one_goes_on() {
        let (child, process) = Sleeper::start("a-n1");
        let injector = Injector::new(dev(vec![process.clone()]), clock::system());
        let shown = format!("a-n1 (pid {})", process.pid);
        assert_eq!(injector.apply(0, STOP, &process), format!("stopped {shown}"));
        child.until(|state| state == 'T').await;
        assert_eq!(injector.apply(1, Action::Continue, &process), format!("{shown} goes on"));
        child.until(|state| state != 'T').await;
        assert!(injector.stopped.lock().is_empty());
    }

    #[tokio::test]
    async fn a_stop_for_a_while_ends_by_itself() {
        let (child, process) = Sleeper::start("a-n1");
        let (run, events) = run(vec![process.clone()], &["stop all for 10ms"]);
        run.await;
        child.until(|state| state != 'T').await;
        let shown = format!("a-n1 (pid {})", process.pid);
        assert_eq!(whats(&events), [format!("stopped {shown}"), format!("{shown} goes on")]);
    }

    #[tokio::test]
    async fn a_long_stop_delays_no_other_fault_and_ends_with_the_run() {
        let ((one, first), (other, second)) = (Sleeper::start("a-n1"), Sleeper::start("a-n2"));
        let (run, _events) = run(vec![first, second], &["stop a-n1 for 1h", "kill a-n2"]);
        let mut task = JoinSet::new();
        task.spawn(run);
        other.until(|state| state == 'Z').await;
        one.until(|state| state == 'T').await;
        task.shutdown().await;
        one.until(|state| state != 'T').await;
    }

    #[tokio::test]
    async fn a_stop_without_an_end_lasts_as_long_as_the_run() {
        let (child, process) = Sleeper::start("a-n1");
        let (run, events) = run(vec![process], &["stop a-n1"]);
        let mut task = JoinSet::new();
        task.spawn(run);
        child.until(|state| state == 'T').await;
        assert_eq!(whats(&events).len(), 1);
        assert!(task.try_join_next().is_none(), "the run ended, and with it the stop");
        task.shutdown().await;
        child.until(|state| state != 'T').await;
    }

    #[tokio::test]
    async fn a_later_stop_takes_the_place_of_an_earlier_one() {
        let (child, process) = Sleeper::start("a-n1");
        let injector = Injector::new(dev(vec![process.clone()]), clock::system());
        injector.apply(0, STOP, &process);
        injector.apply(1, STOP, &process);
        assert!(!injector.stopped.is_held_by(&process, 0) && injector.stopped.is_held_by(&process, 1));
        drop(injector);
        child.until(|state| state != 'T').await;
    }

    #[tokio::test]
    async fn a_process_with_another_start_time_is_left_alone() {
        let (mut child, process) = Sleeper::start("a-n1");
        let other = Process { start_ticks: process.start_ticks + 1, ..process.clone() };
        assert!(matches!(send(&other, rustix::process::Signal::KILL), Err(SignalError::Gone)));
        let (run, events) = run(vec![other], &["kill a-n1", "stop a-n1"]);
        run.await;
        let gone = format!("a-n1 (pid {}) is gone", process.pid);
        assert_eq!(whats(&events), [gone.clone(), gone]);
        assert!(child.0.try_wait().expect("it is our child").is_none(), "a foreign process was killed");
        assert_ne!(child.state(), 'T', "a foreign process was stopped");
    }

    #[tokio::test]
    async fn leaders_and_followers_are_found_by_their_metrics() {
        let page = |leads: u8| format!("flotilla_raft_is_leader{{group=\"a\"}} {leads}\nflotilla_raft_term 3\n");
        let ((leads, _one), (follows, _other)) = (serve(&page(1)).await, serve(&page(0)).await);
        let ((one, first), (other, second)) = (Sleeper::start("a-n1"), Sleeper::start("a-n2"));
        let processes = vec![Process { ops: follows, ..first }, Process { ops: leads, ..second }];
        let (kill, _events) = run(processes.clone(), &["kill leader of a"]);
        kill.await;
        other.until(|state| state == 'Z').await;
        assert_ne!(one.state(), 'Z');
        let (kill, _events) = run(processes, &["kill follower of a"]);
        kill.await;
        one.until(|state| state == 'Z').await;
    }

    #[tokio::test]
    async fn a_group_without_a_leader_is_an_event() {
        let (run, events) = run(vec![process("a-n1"), process("a-n2")], &["kill leader of a", "stop follower of a"]);
        run.await;
        let mut whats = whats(&events);
        whats.sort();
        assert_eq!(whats, ["nobody in 'a' says that it follows", "nobody in 'a' says that it leads"]);
    }

    #[test]
    fn of_two_leaders_the_later_term_counts() {
        let (old, new, none) = (process("a-n1"), process("a-n2"), process("a-n3"));
        let seat = |leads: bool, term: f64| Seat { leads, term };
        let asked = [(&old, seat(true, 3.0)), (&new, seat(true, 4.0)), (&none, seat(false, 9.0))];
        assert_eq!(leader(&asked).map(|process| process.name.as_str()), Some("a-n2"));
        assert_eq!(follower(&asked).map(|process| process.name.as_str()), Some("a-n3"));
        assert!(leader(&asked[2..]).is_none() && follower(&asked[..2]).is_none());
        assert_eq!(Seat::of("flotilla_raft_is_leader{group=\"a\"} 1\n"), Some(seat(true, 0.0)));
        assert_eq!(Seat::of("flotilla_raft_term 7\n"), None);
    }

    #[test]
    fn names_that_do_not_exist_are_told_early_with_those_that_do() {
        let dev = dev(["supernode-1", "a-n1", "a-n2", "b-n1"].map(process).into());
        let refused = |what: &str, dev: &Dev| check(&[fault("kill all"), fault(what)], dev).expect_err("it is refused");
        for good in
            ["kill a-n2", "kill leader of a", "stop follower of a", "kill cluster b", "kill leader of supernodes"]
        {
            assert_eq!(check(&[fault(good)], &dev), Ok(()), "{good}");
        }
        let names = "there are: supernode-1, a-n1, a-n2, b-n1";
        assert_eq!(
            refused("kill a-n3", &dev),
            format!("'kill a-n3' can't be done: there is no process 'a-n3'; {names}")
        );
        let names = "there are: a, b, supernodes";
        let expect = format!("'kill leader of c' can't be done: there is no cluster 'c'; {names}");
        assert_eq!(refused("kill leader of c", &dev), expect);
        assert!(refused("stop cluster a-n1", &dev).contains("there is no cluster 'a-n1'"));
        assert!(refused("stop follower of b", &dev).contains("'b' has one process"));
        assert!(refused("kill all", &Dev::default()).contains("there are no server processes"));
    }
}

//! The names, labels and values of the metrics, as operators rely on them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
    mpsc::sync_channel,
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::{Engine, GroupCommit};

#[derive(Default)]
struct Recorded {
    names: Mutex<Vec<String>>,
    counted: Arc<AtomicU64>,
    timed: Arc<Samples>,
}

#[derive(Default)]
struct Samples(AtomicU64);

impl HistogramFn for Samples {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorded {
    fn name(&self, key: &Key) {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        self.names.lock().expect("no test panics under the lock").push(name);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.name(key);
        Counter::from_arc(Arc::clone(&self.counted))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.name(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.name(key);
        Histogram::from_arc(Arc::clone(&self.timed))
    }
}

struct Good;

impl Engine for Good {
    fn sync(&self) -> Result<(), Arc<str>> {
        Ok(())
    }
}

#[test]
fn syncs_are_counted_and_timed_under_their_names() {
    let recorder = Recorded::default();
    let commit = metrics::with_local_recorder(&recorder, || GroupCommit::start(Arc::new(Good)).expect("a thread"));
    for _ in 0..3 {
        let (send, answer) = sync_channel(1);
        commit.sync_then(Box::new(move |result| send.send(result).expect("the test still listens")));
        answer.recv().expect("an answer").expect("a good sync");
    }
    let names = recorder.names.lock().expect("no test panics under the lock");
    assert_eq!(*names, ["flotilla_syncs_total{store=wal}", "flotilla_sync_seconds{store=wal}"]);
    assert_eq!(recorder.counted.load(Ordering::SeqCst), 3);
    assert_eq!(recorder.timed.0.load(Ordering::SeqCst), 3);
}

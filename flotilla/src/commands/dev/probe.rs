//! Questions to the operations listener of a process: health, readiness, metrics.

use std::time::Duration;

use serde::Deserialize;

use super::deployment::Process;
use crate::exit::{Exit, Failure, chain};

/// How long an answer is waited for; a readiness check itself may take 1 s.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// The longest answer that is read; a page of metrics is some ten KiB.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// What `/healthz` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// The process's name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the process can do its work.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

#[derive(Deserialize)]
struct NotReady {
    #[serde(default)]
    reasons: Vec<String>,
}

/// Asks processes of this machine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Probe(reqwest::Client);

impl Probe {
    /// Makes a probe.
    ///
    /// # Errors
    /// The system lets no client be made.
    pub fn new() -> Result<Self, Failure> {
        // Addresses are loopback ones: a proxy of the environment must not be asked for them.
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
        client.map(Self).map_err(|e| Failure::new(Exit::Other, chain(&e)))
    }

    /// Says whether a process's event loop turns, whichever process it is.
    pub async fn lives(&self, ops: &str) -> bool {
        matches!(self.get(ops, flotilla_api::route::HEALTHZ).await, Some((200, _)))
    }

    /// Asks for the process that answers at a process's address; none if nobody does, or another one.
    pub async fn health(&self, process: &Process) -> Option<Health> {
        let (status, body) = self.get(&process.ops, flotilla_api::route::HEALTHZ).await?;
        let health: Health = serde_json::from_slice(&body).ok().filter(|_| status == 200)?;
        (health.name == process.name).then_some(health)
    }

    /// Asks whether a process is ready; one that does not answer is not.
    pub async fn readiness(&self, ops: &str) -> Readiness {
        match self.get(ops, flotilla_api::route::READYZ).await {
            Some((200, _)) => Readiness { ready: true, reasons: Vec::new() },
            Some((_, body)) => {
                let reasons = serde_json::from_slice(&body).map_or_else(|_| Vec::new(), |not: NotReady| not.reasons);
                Readiness { ready: false, reasons }
            }
            None => Readiness { ready: false, reasons: vec!["no_answer".to_owned()] },
        }
    }

    /// Asks for the sum of all samples of a metric.
    pub async fn metric(&self, ops: &str, name: &str) -> Option<f64> {
        let (status, body) = self.get(ops, flotilla_api::route::METRICS).await?;
        let text = String::from_utf8(body).ok().filter(|_| status == 200)?;
        Some(sum(&text, name))
    }

    async fn get(&self, ops: &str, route: &str) -> Option<(u16, Vec<u8>)> {
        let mut answer = self.0.get(format!("{ops}{route}")).send().await.ok()?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.ok()? {
            if body.len() + piece.len() > ANSWER_MAX_BYTES {
                return None;
            }
            body.extend_from_slice(&piece);
        }
        Some((answer.status().as_u16(), body))
    }
}

/// Adds up the samples of a metric in Prometheus text.
fn sum(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_of_one_metric_are_added_up() {
        let text = "# TYPE x_total counter\nx_total{op=\"put\",code=\"}\"} 2\nx_total{op=\"get\"} 3 1700000000\nx_total_more 7\nx_total 1\n";
        assert!((super::sum(text, "x_total") - 6.0).abs() < f64::EPSILON);
    }
}

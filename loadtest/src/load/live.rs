//! What a run shows while it goes on: one line that is written over on a terminal, a line each second elsewhere. On stderr.

use std::io::{IsTerminal, Write};

use super::series::Step;

/// The last seconds that the small curve shows.
const CURVE: usize = 30;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The view of a run.
pub(crate) struct Live {
    terminal: bool,
    lasts_s: f64,
    p99: Vec<f64>,
}

impl Live {
    /// Begins the view of a run that lasts so many seconds.
    pub(crate) fn new(lasts_s: f64) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), lasts_s, p99: Vec::new() }
    }

    /// Shows a second.
    pub(crate) fn show(&mut self, phase: &str, step: &Step) {
        self.p99.push(step.p99_ms.unwrap_or_default());
        if self.p99.len() > CURVE {
            self.p99.remove(0);
        }
        let line = line(phase, self.lasts_s, step);
        let mut err = std::io::stderr().lock();
        // Nobody may be reading any more.
        let _ =
            if self.terminal { write!(err, "\r\x1b[2K{line}  {}", curve(&self.p99)) } else { writeln!(err, "{line}") };
        let _ = err.flush();
    }

    /// Says what comes next, on a line of its own.
    pub(crate) fn say(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{clear}{text}");
    }
}

fn line(phase: &str, lasts_s: f64, step: &Step) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    format!(
        "{:>5.0}/{lasts_s:.0} s {phase:<10} {:>6} ok {:>4} failed  p50 {:>7} ms  p99 {:>7} ms  under way {:>4}  waiting {}",
        step.at_s + 1.0,
        step.ok,
        step.failed,
        ms(step.p50_ms),
        ms(step.p99_ms),
        step.in_flight,
        step.waiting
    )
}

/// Draws values on a logarithmic scale, as latencies go.
fn curve(values: &[f64]) -> String {
    let log = |value: f64| (value.max(0.1)).log10();
    let most = values.iter().copied().map(log).fold(0.0, f64::max);
    let bar = |value: f64| {
        let share = if most > -1.0 { (log(value) + 1.0) / (most + 1.0) } else { 0.0 };
        BARS[((share * 7.0).round().clamp(0.0, 7.0)) as usize]
    };
    values.iter().copied().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::{curve, line};
    use crate::load::series::Step;

    #[test]
    fn a_second_is_one_line() {
        let step = Step { at_s: 4.0, ok: 99, failed: 1, p50_ms: Some(1.25), ..Step::default() };
        let text = line("calm", 60.0, &step);
        assert!(text.contains("5/60 s calm") && text.contains("99 ok") && text.contains("p99       - ms"), "{text}");
    }

    #[test]
    fn curve_rises_with_the_latency() {
        assert_eq!(curve(&[0.1, 1.0, 10.0, 1000.0]), "▁▃▅█".to_owned());
        assert_eq!(curve(&[]), "");
    }
}

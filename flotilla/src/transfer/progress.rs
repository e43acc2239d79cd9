//! A bar on stderr, seen only on a terminal; knows nothing of what it counts.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn though nothing moves.
const TICK: Duration = Duration::from_millis(250);

/// How far a command is; cheap to clone, all clones are one bar.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows bytes, of a total where that is known.
    pub fn bytes(total: Option<u64>, message: &str) -> Self {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {msg} {bytes} {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are good");
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style);
        bar.set_message(message.to_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Counts bytes.
    pub fn inc(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Tells how many bytes were counted.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Changes the words beside the bar.
    pub fn message(&self, message: String) {
        self.0.set_message(message);
    }

    /// Prints something that the bar must not overwrite.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

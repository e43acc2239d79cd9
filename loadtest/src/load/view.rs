//! Who is told of a run while it goes on: the screen, a log of latencies, a page, or the host that leads several runners.

use std::path::Path;

use super::{hdr_log::HdrLog, live::Live, page::Page, series::Step, times::Times, workers::Told};
use crate::Error;

/// Those who are told.
pub(super) struct View {
    screen: Screen,
    log: Option<HdrLog>,
    page: Option<Page>,
}

enum Screen {
    Live(Live),
    /// The leading host.
    Leader(Told),
}

impl View {
    /// Tells the screen of a run that lasts about so many seconds, and nobody else.
    pub(super) fn screen(lasts_s: f64) -> Self {
        Self { screen: Screen::Live(Live::new(lasts_s)), log: None, page: None }
    }

    /// Tells the host that leads.
    pub(super) fn leader(told: Told) -> Self {
        Self { screen: Screen::Leader(told), log: None, page: None }
    }

    /// Writes the latencies of every second to a file, too.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn log_to(&mut self, path: &Path) -> Result<(), Error> {
        self.log = Some(HdrLog::create(path).map_err(Error::file(path))?);
        Ok(())
    }

    /// Tells that the load begins, by the wall clock, in milliseconds since 1970.
    pub(super) fn begin(&mut self, started_ms: u64) {
        if let Some(log) = &mut self.log {
            log.begin(started_ms);
        }
    }

    /// Serves the report as it grows, too.
    pub(super) fn serve(&mut self, page: Page) {
        self.page = Some(page);
    }

    /// Tells of a second.
    pub(super) fn show(&mut self, phase: &str, step: &Step, latency: &Times) {
        match &mut self.screen {
            Screen::Live(live) => live.show(phase, step),
            Screen::Leader(told) => told.second(step, latency),
        }
        if let Some(log) = &mut self.log {
            log.write(step, latency);
        }
        if let Some(page) = &self.page {
            page.add(step, latency);
        }
    }

    /// Says what comes next.
    pub(super) fn say(&self, text: &str) {
        if let Screen::Live(live) = &self.screen {
            live.say(text);
        }
    }

    /// Ends the files.
    ///
    /// # Errors
    /// [`Error::File`]: not all of them could be written.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.log.take().map_or(Ok(()), HdrLog::finish)
    }
}

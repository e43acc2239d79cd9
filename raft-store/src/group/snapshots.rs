//! When a snapshot is due: often enough to keep the log short, seldom enough that the entries between two pay for it.
//!
//! openraft counts entries alone, so the larger the state, the more of it each command would pay for.

/// How many rows of the state one entry pays for: a snapshot is built after as many entries as it has rows by this at least.
const ROWS_PER_ENTRY: u64 = 4;

/// Says when the next snapshot is due.
#[derive(Debug)]
pub(super) struct Schedule {
    /// After how many entries at least; never if there is none.
    after_entries: Option<u64>,
    due_at: u64,
}

impl Schedule {
    pub(super) fn new(after_entries: Option<u64>) -> Self {
        Self { after_entries, due_at: after_entries.unwrap_or(u64::MAX) }
    }

    /// Notes the snapshot that there is, with the number of its rows.
    pub(super) fn built(&mut self, index: Option<u64>, rows: u64) {
        let Some(after) = self.after_entries else { return };
        self.due_at = index.unwrap_or(0) + after.max(rows / ROWS_PER_ENTRY);
    }

    /// Whether a snapshot is due at an index; asked again later if none was built by then.
    pub(super) fn is_due(&mut self, applied: u64) -> bool {
        let Some(after) = self.after_entries.filter(|_| applied >= self.due_at) else { return false };
        self.due_at = applied + after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_rows_the_more_entries_pay_for_them() {
        let mut schedule = Schedule::new(Some(100));
        assert!(!schedule.is_due(99));
        assert!(schedule.is_due(100));
        assert!(!schedule.is_due(150), "it was asked for");
        assert!(schedule.is_due(200), "but was not built");
        schedule.built(Some(200), 80);
        assert!(!schedule.is_due(299));
        assert!(schedule.is_due(300));
        schedule.built(Some(300), 4000);
        assert!(!schedule.is_due(1299));
        assert!(schedule.is_due(1300));
        let mut never = Schedule::new(None);
        never.built(Some(1), 1);
        assert!(!never.is_due(u64::MAX - 1));
    }
}

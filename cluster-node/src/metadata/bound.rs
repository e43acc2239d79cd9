//! The bound on what one command touches, counted while it is applied: a rule that runs out of it stops and says that there is more.

/// The most rows that one command reads and writes: one batch of this size holds nobody up for long.
pub const ROWS_MAX: usize = 1024;

/// What a command may still touch.
#[derive(Debug)]
pub struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: ROWS_MAX }
    }
}

impl Budget {
    /// Takes `rows` if they are left.
    #[must_use]
    pub fn take(&mut self, rows: usize) -> bool {
        match self.left.checked_sub(rows) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

//! What happened, as one number, and as text where somebody asked for it.
//!
//! Owns the hash by which two runs of one seed are compared. Nothing is formatted unless asked for.

use std::collections::VecDeque;

/// How much is kept of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// Nothing.
    #[default]
    Nothing,
    /// The last so many lines.
    Last(usize),
    /// Everything, printed as it happens.
    Everything,
}

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    telling: Telling,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { hash: 0, telling, lines: VecDeque::new() }
    }

    pub(crate) fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        match self.telling {
            Telling::Nothing => {}
            Telling::Everything => println!("{}", line()),
            Telling::Last(n) => {
                if self.lines.len() >= n {
                    self.lines.pop_front();
                }
                self.lines.push_back(line());
            }
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

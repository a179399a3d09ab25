//! The resource refuses what comes with a token below the highest it has seen; so no write of an
//! earlier hold comes after one of a later hold, no two holds share a token, and who holds the
//! lock is never refused.

use tenure_core::Token;

/// A resource that is guarded by tokens alone.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    highest: Token,
    /// Whose write it was: a peer in one of its lives.
    by: (usize, u32),
    pub(crate) refused: u64,
    pub(crate) accepted: u64,
}

impl Fence {
    /// A guarded write arrives. `believes`: its author still has the hold of that token.
    pub(crate) fn write(
        &mut self,
        token: Token,
        by: (usize, u32),
        believes: bool,
    ) -> Option<String> {
        if token < self.highest {
            self.refused += 1;
            let highest = self.highest;
            return believes
                .then(|| format!("c{} holds with {token} and is refused below {highest}", by.0));
        }
        let shared = token == self.highest && by != self.by;
        self.highest = token;
        self.by = by;
        self.accepted += 1;
        shared.then(|| format!("c{} writes with token {token} of another's hold", by.0))
    }
}

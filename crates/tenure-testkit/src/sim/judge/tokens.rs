//! Tokens rise with every new hold, whoever gets it, and none is given twice.

use tenure_core::Token;

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    last: Token,
}

impl Tokens {
    /// A hold with this token was reported. `informed`: by one who has heard of all that outsiders
    /// did; who has not may report an older hold late.
    pub(crate) fn acquired(&mut self, token: Token, informed: bool) -> Option<String> {
        let last = self.last;
        self.last = last.max(token);
        let falls = if informed { token <= last } else { token == last };
        falls.then(|| format!("token {token} after {last}"))
    }
}

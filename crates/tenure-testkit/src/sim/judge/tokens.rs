//! Tokens rise with every new hold, whoever gets it, and none is given twice.

use tenure_core::Token;

use super::Outsiders;

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    last: Token,
}

impl Tokens {
    /// A hold with this token was reported.
    pub(crate) fn acquired(&mut self, token: Token, outsiders: Outsiders) -> Option<String> {
        let last = self.last;
        self.last = last.max(token);
        // Who has not heard of an outsider's deed may report an older hold late.
        let excused = outsiders.revision > 0 && token != last;
        (token <= last && !excused).then(|| format!("token {token} after {last}"))
    }
}

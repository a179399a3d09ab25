//! What is left of a dead holder's work. For now it is only waited for.

use tenure_core::{Session, Token};

use crate::{Folder, Result};

/// Ends what is left of the process group that the session's owner recorded.
pub(crate) fn end(_folder: &Folder, _session: Session, _token: Token, _name: &str) -> Result<()> {
    Ok(())
}

/// A process that keeps the session's file open, if one can be seen.
pub(crate) fn keeper(_folder: &Folder, _session: Session) -> Option<u32> {
    None
}

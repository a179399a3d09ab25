//! Recognising that this process already runs under the lock it asks for.
//!
//! A lock is not reentrant: asking again would wait for oneself for ever. The variables only say
//! where to look; the record decides, so a stale environment (a daemon started under a lock that
//! was released long ago) refuses nothing.

use std::env::var;

use tenure::LockInfo;
use tenure::blocking::Client;

use crate::exit::Failure;

/// Refuses a lock that a parent process holds.
///
/// # Errors
/// 125 "already held by a parent" while the record shows the hold named by the environment.
pub(crate) fn refuse_own(client: &Client, lock: &str) -> Result<(), Failure> {
    if var("TENURE_LOCK").as_deref() != Ok(lock) {
        return Ok(());
    }
    let (Ok(token), Ok(holder)) = (var("TENURE_TOKEN"), var("TENURE_HOLDER")) else {
        return Ok(());
    };
    let info = client.show(lock).map_err(Failure::new)?;
    if shows(&info, &token, &holder) {
        let shown = crate::duration::shorten(lock);
        return Err(Failure::new(format!(
            "lock `{shown}` is already held by a parent of this process (token {token}); \
             run the inner command without it"
        )));
    }
    Ok(())
}

fn shows(info: &LockInfo, token: &str, holder: &str) -> bool {
    info.holders.iter().any(|h| h.token.to_string() == token && h.id == holder)
}

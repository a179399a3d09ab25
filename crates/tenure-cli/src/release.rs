//! `tenure release`: give back a hold that `acquire` took. The hold file goes with it, but never
//! before the record says that nothing of the hold is left.

use tenure::Lost;
use tenure::blocking::Kept;

use crate::duration::shorten;
use crate::exit::{Failure, LOST, complain};
use crate::hold_file::HoldFile;
use crate::lost::{why, why_in_full};
use crate::options::HoldOptions;

/// Runs the verb.
pub(crate) fn release(options: &HoldOptions) -> Result<u8, Failure> {
    let file = HoldFile::open(&options.hold)?;
    let key = file.key()?;
    let client = file.connect(options.store.as_ref())?;
    let lock = options.tags.on(client.lock(file.lock()));
    lock.check().map_err(Failure::new)?;
    let (name, token) = (shorten(file.lock()), file.token());
    let lost = match lock.release_hold(&key).map_err(Failure::new)? {
        Kept::Done { .. } => None,
        // An acquire that was killed: it never told a token, so nobody has worked under the lock.
        _ if token.is_none() => {
            complain(&format!("nothing is left of the acquire of lock `{name}` that was cut off"));
            None
        }
        Kept::Lost(lost) => Some(why_in_full(&client, file.lock(), token, &lost)),
        _ => Some(why(&Lost::Freed)),
    };
    file.remove()?;
    match lost {
        None => Ok(0),
        Some(why) => {
            Err(Failure::with_code(LOST, format!("lost lock `{name}` before its release: {why}")))
        }
    }
}

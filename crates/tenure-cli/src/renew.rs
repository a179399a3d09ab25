//! `tenure renew`: prolong a hold that `acquire` took. The hold file stays as it is.

use tenure::Lost;
use tenure::blocking::Kept;

use crate::duration::shorten;
use crate::exit::{Failure, LOST};
use crate::hold_file::HoldFile;
use crate::lost::{why, why_in_full};
use crate::options::HoldOptions;

/// Runs the verb.
pub(crate) fn renew(options: &HoldOptions) -> Result<u8, Failure> {
    let file = HoldFile::open(&options.hold)?;
    let key = file.key()?;
    let client = file.connect(options.store.as_ref())?;
    let lock = client.lock(file.lock());
    let why = match lock.renew_hold(&key, options.ttl).map_err(Failure::new)? {
        Kept::Done { .. } => return Ok(0),
        Kept::Lost(lost) => why_in_full(&client, file.lock(), file.token(), &lost),
        Kept::Never => "its acquire ended before it had the lock".to_owned(),
        _ => why(&Lost::Freed),
    };
    let lock = shorten(file.lock());
    Err(Failure::with_code(LOST, format!("lost lock `{lock}` before its renewal: {why}")))
}

//! `tenure acquire`: take a lock for the steps of a script that follow.
//!
//! ```text
//! refuse an existing file ─ connect ─ write the file ─ wait in line ─ leave the hold behind
//!                                                                      ─ complete ─ print the token
//! ```
//! Until the hold is left behind it ends with this process; from then on by its ttl. **At every
//! instant the file either proves all that there is of the hold, or there is nothing.**

use std::io::Write as _;
use std::time::Duration;

use tenure::blocking::{Guard, HoldKey, Lock};
use tenure::{KubeObjects, Released, StoreUrl};

use crate::contend::Here;
use crate::exit::{Failure, LOST, complain};
use crate::hold_file::{self, HoldFile};
use crate::lost::why;
use crate::options::AcquireOptions;
use crate::parent;
use crate::signals::Signals;
use crate::status::Status;
use crate::wait::Wait;

/// Runs the verb.
pub(crate) fn acquire(options: &AcquireOptions) -> Result<u8, Failure> {
    hold_file::refuse_existing(&options.hold)?;
    let mut status = Status::open(None)?;
    let mut signals = Signals::block()?;
    let mut wait = Wait::new(&options.want, &mut status, &mut signals);
    let client = wait.connect()?;
    let name = &options.want.name;
    let lock = options.tags.on(client.lock(name));
    let lock = lock.contact_within(options.want.connect_timeout);
    lock.check().map_err(Failure::new)?;
    check_end(options)?;
    parent::refuse_own(&client, name)?;
    let key = client.hold_key().map_err(Failure::new)?;
    let file = HoldFile::begin(&options.hold, &client, name, &key)?;
    let guard = match wait.acquire(|patience| {
        let pending = lock.start_with_key(&key, patience)?;
        Ok(Here { pending, renews: options.want.is_elsewhere() })
    }) {
        Ok(guard) => guard,
        Err(failure) => {
            file.discard();
            return Err(failure);
        }
    };
    // Came between the last look and the hold: nobody has learnt of it yet.
    if let Some(signal) = signals.ending() {
        // What cannot be released ends with this process.
        let _ = guard.release();
        file.discard();
        return Err(Failure::by_signal(signal as i32));
    }
    Attempt { options, lock: &lock, key, file }.keep(guard)
}

/// Refuses a hold without an end where a record cannot say so, before there is one.
fn check_end(options: &AcquireOptions) -> Result<(), Failure> {
    let objects = StoreUrl::parse(&options.want.store).ok().and_then(|url| url.kube_objects());
    match objects {
        Some(KubeObjects { format, .. })
            if options.ttl == Duration::MAX && format != "configmap" =>
        {
            Err(Failure::new(format!(
                "--ttl never: a hold in format={format} always ends by time; give a ttl, or a store \
                 with format=configmap"
            )))
        }
        _ => Ok(()),
    }
}

/// A held lock, and the file that will prove it.
struct Attempt<'a> {
    options: &'a AcquireOptions,
    lock: &'a Lock,
    key: HoldKey,
    file: HoldFile,
}

impl Attempt<'_> {
    fn keep(mut self, guard: Guard) -> Result<u8, Failure> {
        let token = guard.token();
        match guard.release_after(self.options.ttl) {
            Ok(Released::Released) => {}
            Ok(Released::Lost(lost)) => {
                self.file.discard();
                let lock = crate::duration::shorten(&self.options.want.name);
                let text = format!("lost lock `{lock}` at once: {}", why(&lost));
                return Err(Failure::with_code(LOST, text));
            }
            Err(error) => return Err(self.undo(Failure::new(error))),
        }
        if let Err(failure) = self.file.complete(token) {
            return Err(self.undo(failure));
        }
        let mut out = std::io::stdout();
        match writeln!(out, "{token}").and_then(|()| out.flush()) {
            Ok(()) => Ok(0),
            Err(e) => Err(self.undo(Failure::new(format!("cannot print the token: {e}")))),
        }
    }

    /// Gives back what was taken. Where even that fails the file stays, to do it later.
    fn undo(self, failure: Failure) -> Failure {
        match self.lock.release_hold(&self.key) {
            Ok(_) => self.file.discard(),
            Err(error) => {
                complain(&format!("the lock was taken and cannot be given back: {error}"))
            }
        }
        failure
    }
}

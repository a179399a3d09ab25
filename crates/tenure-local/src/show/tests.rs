//! Looks at a record that moves on meanwhile.

use std::sync::Arc;

use tenure_core::{Record, Term};

use super::Known;
use crate::testing::{Scratch, held, lock_in, session_in};
use crate::{Error, LocalStore, session};

#[test]
fn who_was_served_between_two_looks_is_not_said_to_have_lost_its_session() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let store = LocalStore::in_folder(Arc::clone(&folder)).unwrap();
    let mut file = lock_in(&folder, "l");
    let served = session_in(&folder);
    let make = |token| held(token, served.session(), Term::Session);
    drop(file.create(&served, make).unwrap().unwrap());
    let look = |file: &mut crate::LockFile| file.peek().unwrap();
    let before = look(&mut file);
    std::fs::remove_file(session::path(&folder, served.session())).unwrap();
    // As long as the record names it, that is said.
    let lost = store.settled("l".into(), before.clone(), &mut Known::new()).unwrap_err();
    assert!(matches!(lost, Error::SessionLost { .. }), "{lost}");
    let last_token = before.as_ref().unwrap().record.last_token;
    let free = Record { last_token, ..Record::default() };
    file.lock().unwrap().unwrap().write(&free, false).unwrap();
    let shown = store.settled("l".into(), before, &mut Known::new()).unwrap();
    assert_eq!(shown.record, free);
}

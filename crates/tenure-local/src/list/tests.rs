//! Lists of good, damaged, foreign and deleted files.

use std::fs;

use tenure_core::Term;

use super::*;
use crate::testing::{Scratch, held, lock_in, session_in};

#[test]
fn all_locks_are_listed_by_name_and_bad_files_say_so() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let long = "ü/".repeat(300);
    for name in ["b", "a/x", ".hidden", "Z", &long, "damaged x"] {
        let make = |t| held(t, session.session(), Term::Session);
        lock_in(&folder, name).create(&session, make).unwrap().unwrap();
    }
    let locks = folder.path().join("locks");
    fs::write(locks.join("damaged%20x"), "").unwrap();
    fs::copy(locks.join("b"), locks.join("copy")).unwrap();
    fs::write(locks.join(".left by an editor"), "").unwrap();
    fs::create_dir(locks.join("folder")).unwrap();

    let all = list(&folder).unwrap();
    let names: Vec<_> = all.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, [".hidden", "Z", "a/x", "b", "copy", "damaged x", "folder", &long]);
    for listed in &all {
        match (&listed.stored, listed.name.as_str()) {
            (Err(e), "damaged x") => assert!(e.to_string().contains("`tenure repair 'damaged x'`")),
            (Err(e), "copy") => assert!(e.to_string().contains(r#"it is the record of "b""#)),
            (Err(e), "folder") => assert!(e.to_string().contains("locks/folder"), "{e}"),
            (Ok(stored), _) => {
                let peeked = lock_in(&folder, &listed.name).peek().unwrap().unwrap();
                assert_eq!(*stored, peeked);
            }
            (Err(e), name) => panic!("{name}: {e}"),
        }
    }
}

#[test]
fn a_store_without_locks_is_an_empty_list() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    assert!(list(&folder).unwrap().is_empty());
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(list(&folder).unwrap_err().to_string().contains("cannot list"));
}

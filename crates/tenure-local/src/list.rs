//! All locks of a store.
//!
//! Owns the scan of the folder; reads without guards, so what it returns is for showing.

use std::ffi::{CStr, CString};
use std::time::Duration;

use rustix::fs::Dir;
use rustix::io::Errno;

use crate::guard::Stored;
use crate::image::{self, Place};
use crate::{Error, Folder, Result, sys};

/// How often a record that looks damaged is read again: it may be in the middle of a write.
const READS: usize = 8;

/// Every lock with what its record says, sorted by name. One that cannot be read stands under its
/// file's name.
pub(crate) fn all(folder: &Folder) -> Result<Vec<(String, Result<Stored>)>> {
    let path = folder.path().join("locks");
    let fail = |e| Error::system("read", &path, e);
    let dir = sys::open_dir(folder.dir(), "locks").map_err(fail)?;
    let mut all = Vec::new();
    for entry in Dir::new(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // No lock's file name begins with a dot.
        if !entry.file_name().to_bytes().starts_with(b".") {
            all.extend(one(folder, entry.file_name()));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

/// `None` if it was deleted meanwhile.
fn one(folder: &Folder, file: &CStr) -> Option<(String, Result<Stored>)> {
    let name = file.to_string_lossy().into_owned();
    let relative = CString::new([b"locks/", file.to_bytes()].concat()).ok()?;
    let place = Place { lock: None, folder: folder.path(), file: &relative };
    let opened = match sys::open(folder.dir(), relative.as_c_str()) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return None,
        Err(e) => return Some((name, Err(place.fail("open")(e)))),
    };
    for read in 1.. {
        match image::load(&opened, place) {
            Ok(loaded) => return Some((loaded.name, Ok(loaded.stored))),
            Err(Error::Damaged { .. }) if read < READS => {
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(e) => return Some((name, Err(e))),
        }
    }
    None
}

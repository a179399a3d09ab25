//! All locks of a store.
//!
//! Owns the walk through `locks/`; takes no guard and knows nothing of what the records mean. What
//! it returns was true of each lock at some moment, not of all at the same.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::guard::Stored;
use crate::image::{self, Buffers, Place};
use crate::name::{LockName, unescape};
use crate::{Error, Folder, Result, sys};

/// One lock of a store.
#[derive(Debug)]
pub struct Listed {
    /// Its name; its file's name where the record cannot be read and the name was too long for one.
    pub name: String,
    /// Its record, or why it cannot be read.
    pub stored: Result<Stored>,
}

/// Reads all locks of `folder`, sorted by name.
///
/// # Errors
/// What the system says about the folder; what is wrong with single locks stands in the list.
pub fn list(folder: &Folder) -> Result<Vec<Listed>> {
    let fail = |e| Error::system("list", &folder.path().join("locks"), e);
    let dir = sys::open_dir(folder.dir(), "locks").map_err(fail)?;
    let (path, mut buffers) = (folder.path().join("locks"), Buffers::default());
    let mut all = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let file = entry.file_name();
        // No lock's file begins with a dot.
        if !file.to_bytes().starts_with(b".") {
            all.extend(read(&dir, Place { folder: &path, file, lock: None }, &mut buffers));
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// One lock, unless it is deleted by now.
fn read(dir: &OwnedFd, place: Place<'_>, buffers: &mut Buffers) -> Option<Listed> {
    let file = match sys::open(dir, place.file) {
        Ok(file) => file,
        Err(Errno::NOENT) => return None,
        Err(e) => return Some(unreadable(place, place.fail("open")(e))),
    };
    match image::load_unguarded(&file, place, buffers) {
        // A file that was copied or renamed is not the lock that its record names.
        Ok(loaded) if is_file_of(place, &loaded.name) => {
            Some(Listed { name: loaded.name, stored: Ok(loaded.stored) })
        }
        Ok(loaded) => {
            let problem = format!("it is the record of {:?}", loaded.name);
            Some(unreadable(place, place.damaged(problem)))
        }
        Err(e) => Some(unreadable(place, e)),
    }
}

fn is_file_of(place: Place<'_>, name: &str) -> bool {
    LockName::new(name).is_ok_and(|name| name.file_name() == place.file.to_bytes())
}

fn unreadable(place: Place<'_>, error: Error) -> Listed {
    let file = place.file.to_string_lossy();
    let name = unescape(&file).unwrap_or_else(|| file.clone().into_owned());
    // Named like the lock, so that the remedy in the message can be typed as it stands.
    let error = match error {
        Error::Damaged { path, problem, .. } => {
            Error::Damaged { lock: name.clone(), path, problem }
        }
        other => other,
    };
    Listed { name, stored: Err(error) }
}

#[cfg(test)]
mod tests;

//! Folders that must be refused, and how.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::*;
use tenure_core::Term;

use crate::testing::{Scratch, held, lock_in, session_in};

fn refuse(path: &Path) -> String {
    let error = Folder::open(Some(path)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && !text.contains('\n'), "{text}");
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs `work` as a user whom rights bind: root loses its capabilities in a thread of its own.
fn bound_by_rights(work: impl FnOnce() + Send) {
    let no = CapabilitySet::empty();
    let none = CapabilitySets { effective: no, permitted: no, inheritable: no };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_capabilities(None, none).unwrap();
            work();
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_new_folder_is_private_whatever_stood_before() {
    let scratch = Scratch::new();
    let path = scratch.path().join("a/b/store");
    let folder = Folder::open(Some(&path)).unwrap();
    assert_eq!(folder.path(), path);
    for sub in SUB_FOLDERS {
        assert_eq!(mode(&path.join(sub)), 0o700, "{sub}");
    }
    assert_eq!((mode(&path), mode(&path.join("tokens"))), (0o700, 0o600));
    assert_eq!((mode(&scratch.path().join("a"))), 0o700);
}

#[test]
fn lost_sub_folders_are_made_again_and_a_lost_folder_is_an_error() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    SUB_FOLDERS.iter().for_each(|sub| fs::remove_dir(folder.path().join(sub)).unwrap());
    let session = session_in(&folder);
    let _pipe = crate::WaitPipe::create(&folder, tenure_core::Mark::from_u128(1)).unwrap();
    let mut lock = lock_in(&folder, "a");
    let make = |token| held(token, session.session(), Term::Session);
    lock.create(&session, make).unwrap().unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(lock.lock().unwrap().is_none());
    let text = lock.create(&session, make).unwrap_err().to_string();
    assert!(text.contains("lost its file `tokens`") && text.contains("start again"), "{text}");
}

#[test]
fn the_default_follows_user_and_environment() {
    let with = |root, pairs: &[(&str, &str)]| {
        default_path(root, |name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.into()))
    };
    let home = ("HOME", "/home/u");
    assert_eq!(with(true, &[home]).unwrap(), Path::new("/var/lib/tenure"));
    assert_eq!(with(false, &[home]).unwrap(), Path::new("/home/u/.local/state/tenure"));
    let state = ("XDG_STATE_HOME", "/s");
    assert_eq!(with(false, &[home, state]).unwrap(), Path::new("/s/tenure"));
    // The specification of XDG_STATE_HOME says to ignore relative paths.
    let relative = ("XDG_STATE_HOME", "s");
    assert_eq!(with(false, &[home, relative]).unwrap(), with(false, &[home]).unwrap());
    for nothing in [&[][..], &[("HOME", "")]] {
        let text = with(false, nothing).unwrap_err().to_string();
        assert!(text.contains("HOME") && text.contains("--store local:/path"), "{text}");
    }
}

#[test]
fn what_is_no_folder_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refuse(&file).contains("is not a folder"));
    let below = file.join("store");
    let text = Folder::open(Some(&below)).unwrap_err().to_string();
    assert!(text.contains(&format!("{} is not a folder", file.display())), "{text}");
    let fifo = scratch.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RWXU).unwrap();
    assert!(refuse(&fifo).contains("is not a folder"));
    // A socket's path has to be short.
    let dir = rustix::fs::open(scratch.path(), OFlags::PATH, Mode::empty()).unwrap();
    let short = format!("/proc/self/fd/{}/s", std::os::fd::AsRawFd::as_raw_fd(&dir));
    let _listener = UnixListener::bind(short).unwrap();
    assert!(refuse(&scratch.path().join("s")).contains("is not a folder"));
}

#[test]
fn a_folder_that_others_can_write_is_refused_until_it_is_private() {
    let scratch = Scratch::new();
    for (bits, fine) in [(0o770, false), (0o702, false), (0o777, false), (0o755, true)] {
        fs::set_permissions(scratch.path(), Permissions::from_mode(bits)).unwrap();
        if fine {
            Folder::open(Some(scratch.path())).unwrap();
        } else {
            let text = refuse(scratch.path());
            let remedy = format!("run `chmod 700 {}`", scratch.path().display());
            assert!(text.contains("can be written by others") && text.contains(&remedy), "{text}");
        }
    }
}

#[test]
fn nobody_is_told_to_make_a_shared_folder_private() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("theirs"), "").unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o1777)).unwrap();
    let text = refuse(scratch.path());
    assert!(text.contains("no store and not empty") && !text.contains("chmod"), "{text}");
}

#[test]
fn another_users_folder_is_refused_by_root_too() {
    let scratch = Scratch::new();
    // Root gives its folder away; anybody else looks at one of root's.
    let path = if rustix::process::geteuid().is_root() {
        chown(scratch.path(), Some(1), None).unwrap();
        scratch.path()
    } else {
        Path::new("/usr")
    };
    let text = refuse(path);
    assert!(text.contains("belongs to user") && text.contains("choose a folder"), "{text}");
}

#[test]
fn missing_rights_are_named() {
    let scratch = Scratch::new();
    let store = scratch.path().join("store");
    let folder = Folder::open(Some(&store)).unwrap();
    let locked = scratch.path().join("locked");
    fs::create_dir(&locked).unwrap();
    for (path, bits) in [(&store, 0o000), (&locked, 0o500)] {
        fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
    }
    let below = locked.join("store");
    bound_by_rights(|| {
        for path in [&store, &locked, &below] {
            let text = refuse(path);
            assert!(
                text.contains("Permission denied") && text.contains("choose another"),
                "{text}"
            );
        }
    });
    // What was open stays usable.
    fs::set_permissions(&store, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(store.join("tokens"), Permissions::from_mode(0o400)).unwrap();
    bound_by_rights(|| {
        let error = Folder::open(Some(&store)).unwrap_err();
        assert!(matches!(error, Error::Denied { .. }) && error.to_string().contains("tokens"));
    });
    folder.tokens().raise().unwrap();
}

#[test]
fn file_systems_that_cannot_hold_locks_are_refused() {
    let path = Path::new("/some/where");
    for (magic, name, _) in REFUSED {
        let text = check_file_system(path, magic).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("/some/where"), "{text}");
        assert!(text.contains("choose a folder on a local disk"), "{text}");
    }
    // ext4, xfs, btrfs, zfs, f2fs, overlay
    for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x794C_7630] {
        check_file_system(path, magic).unwrap();
    }
}

#[test]
fn a_folder_in_memory_is_refused_and_not_left_behind() {
    // The one place for files in memory that every Linux has.
    let memory = Path::new("/dev/shm");
    let magic = rustix::fs::statfs(memory).map(|fs| fs.f_type).unwrap();
    assert_eq!(magic, 0x0102_1994, "/dev/shm is no tmpfs here, so this test cannot say anything");
    let path = memory.join(format!("tenure-test-{}", std::process::id()));
    let text = refuse(&path);
    assert!(text.contains("is on tmpfs") && text.contains("choose a folder on a local disk"));
    assert!(!path.exists());
}

#[test]
fn a_read_only_or_full_disk_is_named() {
    let scratch = Scratch::new();
    for (errno, words) in
        [(Errno::ROFS, "Read-only file system"), (Errno::NOSPC, "free some space")]
    {
        for after in 0..3 {
            let path = scratch.path().join(format!("{after}-{}", errno.raw_os_error()));
            sys::record::fail(after, errno);
            let error = Folder::open(Some(&path)).unwrap_err();
            sys::record::heal();
            assert!(error.to_string().contains(words), "{error}");
            // And nothing half made is in the way afterwards.
            Folder::open(Some(&path)).unwrap();
        }
    }
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path().join("documents");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter.txt"), "dear").unwrap();
    let error = Folder::open(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("not empty (it has \"letter.txt\")"), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    fs::remove_file(path.join("letter.txt")).unwrap();
    Folder::open(Some(&path)).unwrap();
}

#[test]
fn what_a_parent_noted_of_its_pid_namespace_is_not_believed_by_its_child() {
    let scratch = Scratch::new();
    let real = facts::namespace("/proc/self/ns/pid").unwrap();
    let folder = scratch.open();
    assert_eq!(folder.pid_namespace().unwrap(), real);
    assert_eq!(folder.namespace.get(), Some(&(std::process::id(), real)));
    let inherited = scratch.open();
    inherited.namespace.set((std::process::id() + 1, real + 1)).unwrap();
    assert_eq!(inherited.pid_namespace().unwrap(), real);
}

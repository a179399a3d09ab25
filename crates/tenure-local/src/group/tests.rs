//! Groups that are ended, and groups that must be left alone.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tenure_core::Token;

use super::{GroupEnd, end_group};
use crate::session::Identity;
use crate::testing::{Scratch, session_in, wait_until};
use crate::{Folder, LockName};

const PATIENCE: Duration = Duration::from_secs(10);

/// A shell in a group of its own with two children; it prints a line once they run.
fn shell(script: &str, token: Option<&str>) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(token) = token {
        command.env("TENURE_TOKEN", token).env("TENURE_LOCK", "job");
    }
    command.spawn().unwrap()
}

fn members(group: u32) -> usize {
    super::members_of(group).unwrap().len()
}

fn end(folder: &Folder, session: tenure_core::Session, group: u32, patience: Duration) -> GroupEnd {
    let lock = LockName::new("job").unwrap();
    end_group(folder, session, group, (&lock, Token::new(42)), patience)
}

#[test]
fn a_group_with_the_token_in_its_environment_is_ended_whole() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder).session();
    // The second child shows nothing itself; the others vouch for it.
    let mut child = shell("sleep 300 & env -i /bin/sleep 300 & wait", Some("42"));
    let group = child.id();
    wait_until(|| members(group) == 3);
    assert_eq!(end(&folder, session, group, PATIENCE), GroupEnd::Ended);
    assert_eq!(members(group), 0);
    assert!(!child.wait().unwrap().success());
    assert_eq!(end(&folder, session, group, PATIENCE), GroupEnd::Ended);
}

#[test]
fn a_stopped_member_is_ended_too() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder).session();
    let mut child = shell("kill -STOP $$", Some("42"));
    let group = child.id();
    wait_until(|| {
        super::members_of(group).unwrap().first().is_some_and(|(_, stat)| stat.state == 'T')
    });
    assert_eq!(end(&folder, session, group, PATIENCE), GroupEnd::Ended);
    child.wait().unwrap();
}

#[test]
fn a_group_that_shows_nothing_or_another_token_is_left_alone() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder).session();
    for token in [None, Some("43"), Some("4")] {
        let mut child = shell("exec sleep 300", token);
        let group = child.id();
        wait_until(|| members(group) == 1);
        assert_eq!(end(&folder, session, group, PATIENCE), GroupEnd::Left(vec![group]));
        assert_eq!(members(group), 1);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn the_open_session_file_is_evidence() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let own = session_in(&folder);
    // Standard output is the session's own descriptor, as an inherited one would be.
    let file = own.as_fd().try_clone_to_owned().unwrap();
    let mut command = Command::new("/bin/sleep");
    let mut child = command.arg("300").process_group(0).stdout(file).spawn().unwrap();
    let group = child.id();
    assert_eq!(end(&folder, own.session(), group, PATIENCE), GroupEnd::Ended);
    child.wait().unwrap();
}

#[test]
fn a_holder_of_another_boot_or_namespace_is_out_of_reach() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut child = shell("exec sleep 300", Some("42"));
    let here = Identity::of(session_in(&folder).session());
    let mut other_boot = here;
    other_boot.clock.boot ^= 1;
    let other_space = Identity { pid_namespace: here.pid_namespace ^ 1, ..here };
    for identity in [other_boot, other_space] {
        let outcome = end(&folder, identity.session(), child.id(), PATIENCE);
        assert_eq!(outcome, GroupEnd::OutOfReach);
    }
    assert_eq!(members(child.id()), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

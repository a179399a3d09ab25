//! The messages between the two processes: one JSON text each, whole or not at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No message is longer: names and reasons are cut short.
const LONGEST: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What came.
#[derive(Debug)]
pub(super) enum Came<T> {
    /// A message.
    One(T),
    /// Nothing yet.
    Nothing,
    /// The other process is gone.
    Gone,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Done,
    /// The other process has not read enough of what was sent before.
    Later,
    /// The other process is gone.
    Gone,
}

impl Link {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(a), Self(b)))
    }

    /// The same end once more, for another thread: each message is whole.
    #[cfg(feature = "kube")]
    pub(super) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends a message.
    pub(super) fn send(&self, message: &impl Serialize) -> Sent {
        let Ok(text) = serde_json::to_vec(message) else { return Sent::Gone };
        loop {
            match send(&self.0, &text, SendFlags::NOSIGNAL) {
                Ok(_) => return Sent::Done,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Sent::Later,
                Err(_) => return Sent::Gone,
            }
        }
    }

    /// The next message that has come.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> Came<T> {
        let mut text = vec![0; LONGEST];
        loop {
            return match recv(&self.0, &mut text[..], RecvFlags::empty()) {
                Ok((0, _)) => Came::Gone,
                // One of another version cannot be: both are one process image.
                Ok((n, _)) => serde_json::from_slice(&text[..n]).map_or(Came::Gone, Came::One),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Came::Nothing,
                Err(_) => Came::Gone,
            };
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

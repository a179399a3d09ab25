//! What is left after a power cut, or after a process was killed, at any point.

mod contenders;
pub(crate) mod disk;
mod kill;
mod power;

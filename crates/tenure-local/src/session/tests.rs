//! Sessions of living, stopped, dead and orphaned processes.

//! Folders that must be refused, and how.

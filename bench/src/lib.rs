//! Internal to tenure: benchmarks side by side with the peers.

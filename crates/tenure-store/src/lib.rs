//! Internal to tenure.

//! Both sides list the same locks, and find the same ones by a condition.

use std::time::{Duration, Instant};

use serde_json::json;
use tenure_interop::{Arena, Format, Side};

use super::{SLACK, arena};

/// A condition as we read it, the same as Go has it, and the locks it is true of.
type Asked = (&'static str, &'static str, &'static [&'static str]);

const EVERYTHING: &str = "not holder = nobody";
const ACQUIRED: [Asked; 2] = [
    (
        "acquired = true",
        r#"{"field": "acquired", "operation": "equals", "value": true}"#,
        &["live-go held go-1", "live-rust held rust-1"],
    ),
    (
        "acquired = false",
        r#"{"field": "acquired", "operation": "equals", "value": false}"#,
        &["dead-go expired go-1", "dead-rust expired rust-1", "free-go free", "free-rust free"],
    ),
];
const TAGS: [Asked; 4] = [
    (
        "tags contains nightly",
        r#"{"field": "tags", "operation": "contains", "value": "nightly"}"#,
        &["live-go held go-1", "live-rust held rust-1"],
    ),
    (
        "tags contains weekly and acquired = true",
        r#"{"operation": "and", "conditions": [
            {"field": "tags", "operation": "contains", "value": "weekly"},
            {"field": "acquired", "operation": "equals", "value": true}]}"#,
        &["live-rust held rust-1"],
    ),
    (
        "tags contains weekly or acquired = false",
        r#"{"operation": "or", "conditions": [
            {"field": "tags", "operation": "contains", "value": "weekly"},
            {"field": "acquired", "operation": "equals", "value": false}]}"#,
        &[
            "dead-go expired go-1",
            "dead-rust expired rust-1",
            "free-go free",
            "free-rust free",
            "live-rust held rust-1",
        ],
    ),
    ("tags contains night", r#"{"field": "tags", "operation": "contains", "value": "night"}"#, &[]),
];

/// Locks that are held, free and left behind, by either side.
pub(super) fn agrees(format: Format) {
    let arena = arena(format);
    let mut tags = "";
    if format == Format::ConfigMap {
        tags = "nightly,weekly";
        arena.create(&tagged("live-go", "nightly"));
    }
    let mut living = Vec::new();
    for (side, word) in [(Side::Go, "go"), (Side::Rust, "rust")] {
        let hold = |state: &str, tags: &str| {
            let mut holder = arena.holder_of(side, &format!("{state}-{word}"), tags);
            holder.says("held", SLACK);
            holder
        };
        living.push(hold("live", tags));
        hold("dead", "").kill();
        let mut freed = hold("free", "");
        // client-go's release can conflict with a renewal of its own that it breaks off: one comes at
        // the beginning, the next two seconds later.
        std::thread::sleep(Duration::from_secs(1));
        freed.terminate();
        freed.says("released", SLACK);
    }
    let all: Vec<_> = ACQUIRED.iter().flat_map(|(_, _, lines)| *lines).copied().collect();
    let all = seen(format, &all);
    let begun = Instant::now();
    // What is dead shows by its times, which both judge by the same clock here.
    while arena.listed(Side::Go, r#"{"operation": "and"}"#) != all {
        let late = begun.elapsed() > format.ttl() + SLACK;
        let lists = [(Side::Go, r#"{"operation": "and"}"#), (Side::Rust, EVERYTHING)]
            .map(|(side, condition)| arena.listed(side, condition));
        assert!(!late, "{format:?}: Go lists, then Rust {lists:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(arena.listed(Side::Rust, EVERYTHING), all, "{format:?}");
    let tags = if format == Format::ConfigMap { &TAGS[..] } else { &[] };
    for (ours, theirs, expected) in ACQUIRED.iter().chain(tags) {
        check(&arena, ours, theirs, &seen(format, expected));
    }
    for holder in &mut living {
        holder.has_not_said("lost");
    }
}

fn check(arena: &Arena, ours: &str, theirs: &str, expected: &[String]) {
    assert_eq!(arena.listed(Side::Go, theirs), expected, "Go, {ours}");
    assert_eq!(arena.listed(Side::Rust, ours), expected, "Rust, {ours}");
}

/// In two formats nothing is left of a lock that was released.
fn seen(format: Format, lines: &[&str]) -> Vec<String> {
    let leaves = !matches!(format, Format::Annotation | Format::Janus);
    let mut seen: Vec<_> = lines
        .iter()
        .filter(|line| leaves || !line.ends_with("free"))
        .map(|line| (*line).to_owned())
        .collect();
    seen.sort_unstable();
    seen
}

fn tagged(name: &str, tag: &str) -> serde_json::Value {
    let state = json!({"name": name, "lockType": "mutex", "leases": {}, "tags": [tag]});
    json!({
        "metadata": {"name": format!("lockheed-{name}"), "labels": {"lockheed/lock": ""}},
        "data": {"lock": state.to_string()},
    })
}

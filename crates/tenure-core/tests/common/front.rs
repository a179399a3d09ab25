//! Polls as a store does that shows only the head of a long line, and that polls no claim that rests.

use tenure_core::{Action, Claim, Time, View, Wall};

/// Polls `claim`; wherever it says that the head of the line is enough, it must do the same, and come
/// to be the same, as with all of it; and where it says that it rests, the next poll must ask for
/// nothing and change nothing.
pub(crate) fn poll(claim: &mut Claim, now: Time, wall: Wall, view: &View<'_>) -> Action {
    let before = claim.clone();
    let action = claim.poll(now, wall, view);
    if claim.rests() {
        let mut other = claim.clone();
        let next = other.poll(now, wall, view);
        assert!(matches!(next, Action::Idle | Action::Wait { until: None }), "{next:?}");
        assert_eq!(other, *claim);
    }
    let View::Is { record, version, age } = *view else { return action };
    for front in 0..record.queue.len() {
        let mut head = record.clone();
        head.queue.truncate(front);
        if !before.sees_enough(&head) {
            continue;
        }
        let mut other = before.clone();
        let view = View::Is { record: &head, version, age };
        assert_eq!(other.poll(now, wall, &view), action, "{front} of {record:?}");
        assert_eq!(other, *claim, "{front} of {record:?}");
    }
    action
}

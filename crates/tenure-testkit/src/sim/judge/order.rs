//! Who stands in line is served in the order of arrival: nobody gets the lock over the head of a
//! living waiter that came earlier, and nobody takes it from the living.

use tenure_core::{Change, Probed, Record, Session, Term};

/// A write made a holder. `before` is the record it was judged on.
pub(crate) fn served(
    change: &Change,
    before: Option<&Record>,
    after: &Record,
    probe: impl Fn(Session) -> Probed,
) -> Option<String> {
    let holder = after.holder.as_ref()?;
    let earlier = after.queue.iter().filter(|w| w.ticket < holder.ticket);
    for waiter in earlier {
        if probe(waiter.session) == Probed::Alive {
            return Some(format!("{} was passed over for {}", waiter.id, holder.id));
        }
    }
    let old = before?.holder.as_ref()?;
    let robbed = matches!(change, Change::Take { .. })
        && old.term == Term::Session
        && probe(old.session) != Probed::Dead;
    robbed.then(|| format!("{} takes it from {}, who lives", holder.id, old.id))
}

//! What the library warns of, on stderr, as `tenure: warning: ..`.
//!
//! A process without a stderr says where else it goes.

use std::fmt::{self, Write as _};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::exit::complain;

type Teller = Box<dyn Fn(&str) + Send + Sync>;

static TELLER: OnceLock<Teller> = OnceLock::new();

/// Where this process tells them instead.
pub(crate) fn tell(by: impl Fn(&str) + Send + Sync + 'static) {
    let _ = TELLER.set(Box::new(by));
}

/// Passes on every warning from now on.
pub(crate) fn pass_on() {
    let _ = tracing::subscriber::set_global_default(Warnings);
}

struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= Level::WARN && about.target() == "tenure"
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::from("warning: ");
        event.record(&mut Message(&mut text));
        match TELLER.get() {
            Some(tell) => tell(&text),
            None => complain(&text),
        }
    }

    // Of spans nothing is told.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

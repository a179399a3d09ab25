//! `tenure doctor`: what could go wrong with a store, and what to change.
//!
//! Owns how findings are printed. What is trouble is decided in `kube` and in `local`. Takes no lock
//! and writes nothing.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{FAILED, Failure};
use crate::options::{DoctorOptions, Output};

#[cfg(feature = "kube")]
mod kube;
mod limits;
mod local;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Nothing to be afraid of, but good to know.
    Note,
    /// It must be changed.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    /// The lock it is about, if it is about one.
    lock: Option<String>,
    state: State,
    what: String,
    /// What to do about it.
    change: Option<String>,
    /// The numbers behind it, if there are any.
    measured: Option<serde_json::Value>,
}

impl Finding {
    fn new(check: &'static str, state: State, what: impl Into<String>) -> Self {
        Self { check, lock: None, state, what: what.into(), change: None, measured: None }
    }

    #[cfg(feature = "kube")]
    fn on(self, lock: &str) -> Self {
        Self { lock: Some(lock.to_owned()), ..self }
    }

    #[cfg(feature = "kube")]
    fn change(self, change: impl Into<String>) -> Self {
        Self { change: Some(change.into()), ..self }
    }

    #[cfg(feature = "kube")]
    fn measured(self, measured: serde_json::Value) -> Self {
        Self { measured: Some(measured), ..self }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    store: &'a str,
    findings: &'a [Finding],
    limits: Vec<limits::Limit>,
}

/// Prints what was found; 125 if something must be changed.
pub(crate) fn doctor(options: &DoctorOptions, out: &mut impl Write) -> Result<u8, Failure> {
    let findings = match &options.objects {
        None => local::findings(&options.store),
        #[cfg(feature = "kube")]
        Some(objects) => kube::findings(options, objects)?,
        #[cfg(not(feature = "kube"))]
        Some(_) => return Err(Failure::new("kube: was left out of this program")),
    };
    let printed = match options.output {
        Output::Json => json(options, &findings, out),
        Output::Text => text(options, &findings, out),
    };
    printed.map_err(|e| crate::printing(&e))?;
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if bad { FAILED } else { 0 })
}

fn json(options: &DoctorOptions, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let report = Report { store: &options.store, findings, limits: limits::all() };
    let mut text = serde_json::to_vec(&report)?;
    text.push(b'\n');
    out.write_all(&text)
}

fn text(options: &DoctorOptions, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let mut text = format!("Store {}\n\n", options.store);
    for Finding { check, lock, state, what, change, .. } in findings {
        let state = match state {
            State::Ok => "ok",
            State::Note => "note",
            State::Bad => "BAD",
        };
        let lock = lock.as_ref().map(|lock| format!("{lock}: ")).unwrap_or_default();
        text += &format!("  {state:<5} {check:<11} {lock}{what}\n");
        if let Some(change) = change {
            text += &format!("        change:     {change}\n");
        }
    }
    text.push('\n');
    out.write_all(text.as_bytes())?;
    limits::print(out)
}

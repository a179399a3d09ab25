//! `tenure doctor`: what could go wrong with a store, and what to change.
//!
//! Owns how findings are printed. What is trouble is decided in `kube`; a store of this machine has
//! nothing to be asked, and its promise needs no clocks. Takes no lock and writes nothing.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{FAILED, Failure};
use crate::options::{DoctorOptions, Output};

#[cfg(feature = "kube")]
mod kube;
mod limits;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "kube"), expect(dead_code, reason = "nothing else is looked at"))]
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

#[cfg_attr(not(feature = "kube"), expect(dead_code, reason = "nothing else is looked at"))]
impl Finding {
    fn new(check: &'static str, state: State, what: impl Into<String>) -> Self {
        Self { check, lock: None, state, what: what.into(), change: None, measured: None }
    }

    fn on(self, lock: &str) -> Self {
        Self { lock: Some(lock.to_owned()), ..self }
    }

    fn change(self, change: impl Into<String>) -> Self {
        Self { change: Some(change.into()), ..self }
    }

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
    #[cfg(feature = "kube")]
    let findings = kube::findings(options)?;
    #[cfg(not(feature = "kube"))]
    let findings = match &options.objects {
        None => Vec::new(),
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
    let mut text = String::new();
    if !findings.is_empty() {
        text += &format!("Store {}\n\n", options.store);
    }
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
    if !findings.is_empty() {
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    limits::print(out)
}

//! `tenure repair`: list the records that cannot be read, and free their locks when told to.

use std::io::Write;

use tenure::blocking::{Client, Damage, connect_existing};

use crate::ask::confirmed;
use crate::display::local_time;
use crate::duration::shorten;
use crate::exit::{FAILED, Failure, complain};
use crate::options::RepairOptions;

/// Runs the verb.
pub(crate) fn repair(options: &RepairOptions, out: &mut impl Write) -> Result<u8, Failure> {
    let Some(client) = connect_existing(&options.store).map_err(Failure::new)? else {
        complain(&format!("there is no store at `{}` yet: nothing is damaged", options.store));
        return Ok(0);
    };
    let (mut damages, mut code) = (Vec::new(), 0);
    for found in client.damages(options.name.as_deref()).map_err(Failure::new)? {
        match found {
            Ok(damage) => damages.push(damage),
            Err(error) => {
                complain(&error.to_string());
                code = FAILED;
            }
        }
    }
    let text: String = damages.iter().map(describe).collect();
    let print = |out: &mut dyn Write, text: &str| {
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| crate::printing(&e))
    };
    print(out, &text)?;
    if damages.is_empty() {
        if code == 0 {
            print(out, "nothing is damaged\n")?;
        }
        return Ok(code);
    }
    let question = format!("free {}?", count(damages.len()));
    let instead = format!("{} left as they are: give --yes to free them", count(damages.len()));
    if !confirmed(options.yes, &question, &instead)? {
        return Err(Failure::new("nothing was changed"));
    }
    for damage in &damages {
        code = code.max(free(&client, damage));
    }
    Ok(code)
}

fn count(n: usize) -> String {
    if n == 1 { "1 damaged record".to_owned() } else { format!("{n} damaged records") }
}

fn free(client: &Client, damage: &Damage) -> u8 {
    let name = shorten(damage.name());
    match client.repair(damage) {
        Ok(true) => {
            complain(&format!("lock `{name}` was freed"));
            0
        }
        Ok(false) => {
            complain(&format!("lock `{name}` can be read by now, and was left alone"));
            0
        }
        Err(error) => {
            complain(&format!("lock `{name}` was not repaired: {error}"));
            FAILED
        }
    }
}

/// What there is to know before its lock is freed.
fn describe(damage: &Damage) -> String {
    let mut text = format!("lock    {}\n", damage.name().escape_debug());
    text += &format!("file    {}\n", damage.path().display());
    text += &format!("damage  {}\n", damage.problem());
    let Some(found) = damage.salvage() else {
        return text + "said    nothing that can be read\n\n";
    };
    if found.lock != damage.name() {
        text += &format!("of      lock {:?}; unverified\n", found.lock);
    }
    let said = match found.holder {
        None if found.free == Some(true) => "free".to_owned(),
        None => "nothing of its holder that can be read".to_owned(),
        Some(id) => {
            let token = found.token.map(|token| format!(", token {token}")).unwrap_or_default();
            let since = found.since.map(|since| local_time(since.as_micros()));
            let since = since.map(|since| format!(", since {since}")).unwrap_or_default();
            let runs = match (found.pid, found.running) {
                (Some(pid), true) => format!(", pid {pid}, WHICH STILL RUNS"),
                (Some(pid), false) => format!(", pid {pid}, which has ended"),
                (None, _) => String::new(),
            };
            format!("held by {}{token}{since}{runs}", id.escape_debug())
        }
    };
    text + &format!("said    {said}; unverified\n\n")
}

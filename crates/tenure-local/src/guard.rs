//! One lock's file, opened, and the guard under which its record is read and changed.
//!
//! Owns the exclusive `flock` around every change, the creation and the deletion of the file, and
//! which token comes next; knows nothing of what a change means. **A record is written only under
//! the guard, only after it was read under the same guard, and never in a file that was unlinked.**
//! A file that cannot be read is an error, never a free lock.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::{Mark, Record, Time, Token, Version};

use crate::image::{self, Buffers, Image, Loaded, Place};
use crate::known::{About, Known};
use crate::line::Line;
use crate::lockwait::{lock_exclusive, lock_soon, owner};
use crate::session::OwnSession;
use crate::slots::{self, FILE, Header, Plan};
use crate::wait::Told;
use crate::{Clock, Error, Folder, LockName, Result, codec, facts, sys};

/// What a lock's file says, and what must be known to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record, in a box, for it is passed on a lot.
    pub record: Box<Record>,
    /// Which state of which file it is.
    pub version: Version,
    /// The clock the holder's stamp was read from. If it is not [`Folder::clock`], the stamp means
    /// nothing here.
    pub clock: Clock,
    /// Whether a part of the file could not be read, so that a newer record may be lost.
    pub damaged: bool,
}

/// The file of one lock.
#[derive(Debug)]
pub struct LockFile {
    folder: Arc<Folder>,
    name: LockName,
    opened: Option<Opened>,
    buffers: Buffers,
    known: Known,
    /// The headers that were read or written last; they mean nothing without `state`.
    image: Image,
    /// What its guard knows.
    state: Option<State>,
}

#[derive(Debug)]
struct Opened {
    file: OwnedFd,
    /// The newest sequence of this very file that this process itself synced.
    known: u64,
}

/// The exclusive right to change one lock's record. Dropping it gives the right back.
#[derive(Debug)]
pub struct Guard<'a> {
    folder: &'a Folder,
    name: &'a LockName,
    opened: &'a mut Opened,
    buffers: &'a mut Buffers,
    known: &'a mut Known,
    image: &'a mut Image,
    state: &'a mut Option<State>,
    /// Where waiters stand outside the slots, also those who are not in the record that was read.
    line: Line,
}

/// What was read under the guard, kept up with what was written since.
#[derive(Debug)]
struct State {
    incarnation: u64,
    last_token: Token,
    /// The holder's proof and stamp, to tell whether a write makes a new stamp.
    stamp: Option<(Mark, Time)>,
    clock: Clock,
    /// Whether the floor was raised for damage seen in `image`.
    raised: bool,
    /// A token that was computed from the floor on the disk.
    fresh: Option<Token>,
    /// Whether we ourselves synced the folder's entry of the file.
    entry_known: bool,
}

impl LockFile {
    /// The file of the lock `name` in `folder`; it need not exist.
    #[must_use]
    pub fn new(folder: &Arc<Folder>, name: LockName) -> Self {
        Self {
            folder: Arc::clone(folder),
            name,
            opened: None,
            buffers: Buffers::default(),
            known: Known::default(),
            image: Image::default(),
            state: None,
        }
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Reads without the guard; `None` if there is no record. What is returned was the record at
    /// some moment, but may be outdated by now: for showing, and for deciding to look closer.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`], or what the system says.
    pub fn peek(&mut self) -> Result<Option<Stored>> {
        loop {
            let Some((opened, place)) = self.open()? else { return Ok(None) };
            if !is_unlinked(&opened.file, place)? {
                return image::load_unguarded(&opened.file, place, &mut Buffers::default())
                    .map(|l| Some(l.stored));
            }
            self.opened = None;
        }
    }

    /// Reads the slots as they are, and how long they are; `None` if there is no record.
    pub(crate) fn raw_slots(&mut self, slots: &mut [u8; FILE]) -> Result<Option<usize>> {
        let Some((opened, place)) = self.open()? else { return Ok(None) };
        if is_unlinked(&opened.file, place)? {
            return Ok(None);
        }
        image::raw_slots(&opened.file, slots).map(Some).map_err(place.fail("read"))
    }

    /// Takes the guard; `None` if there is no record yet: [`create`](Self::create) one.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process does not give the guard back in time.
    pub fn lock(&mut self) -> Result<Option<Guard<'_>>> {
        let wait = self.folder.guard_wait();
        self.lock_within(wait)
    }

    /// The same, but it waits for a busy guard only as long as `wait`; below a second it does not
    /// find out who has it.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_within(&mut self, wait: Duration) -> Result<Option<Guard<'_>>> {
        self.lock_told(wait, None)
    }

    /// The same for one who was `told` something: if it is that the guard is about to be given back,
    /// it is tried for without a pause at first.
    pub(crate) fn lock_told(
        &mut self,
        wait: Duration,
        told: Option<Told>,
    ) -> Result<Option<Guard<'_>>> {
        loop {
            let Some((opened, place)) = self.open()? else { return Ok(None) };
            match told {
                Some(Told::Soon) => lock_soon(&opened.file, wait, || place.path())?,
                _ => lock_exclusive(&opened.file, wait, || place.path())?,
            }
            let unlinked = is_unlinked(&opened.file, place);
            if matches!(unlinked, Ok(false)) {
                break;
            }
            sys::unlock(&opened.file);
            unlinked?;
            // Deleted while we waited for it: a guard on it would guard nothing.
            self.opened = None;
        }
        Ok(self.guard(None))
    }

    /// Who has the guard that we do not get.
    pub(crate) fn guard_owner(&self) -> String {
        self.opened.as_ref().map_or_else(String::new, |opened| owner(&opened.file))
    }

    /// Creates the record that `make` returns for its token, durably, and keeps its guard; `None`
    /// if another process created one first.
    ///
    /// `make` may be called again with a later token.
    ///
    /// # Errors
    /// What the system says. After [`Error::NotDurable`] the record is there.
    pub fn create(
        &mut self,
        session: &OwnSession,
        mut make: impl FnMut(Token) -> Record,
    ) -> Result<Option<(Guard<'_>, Record)>> {
        // Whoever deletes a lock's file by hand raises nothing, so every birth raises the floor.
        let token = Token::new(self.folder.tokens().raise()?);
        let mut record = make(token);
        let incarnation = facts::random_u64()?;
        let stamp = proof(&record);
        let clock = if stamp.is_some() { self.folder.clock() } else { Clock::default() };
        let mut body = Vec::new();
        codec::encode(incarnation, self.name.as_str(), clock, &record, &mut body);
        let born = self.give_birth(&session.temp_name(), &body, token)?;
        let Some(image) = born else { return Ok(None) };
        self.image = image;
        let last_token = record.last_token;
        let (raised, fresh, entry_known) = (false, None, true);
        let state = State { incarnation, last_token, stamp, clock, raised, fresh, entry_known };
        let Some(mut guard) = self.guard(Some(state)) else { return Ok(None) };
        // The lock may have been made and deleted, and the floor raised for it, between the raise and
        // the birth of this file. Then this token was perhaps given before, and the floor as well.
        let tokens = guard.folder.tokens();
        let passed = tokens.fresh_floor()? > token.get();
        let again = if passed { Token::new(tokens.raise()?) } else { token };
        if let Some(state) = guard.state {
            state.fresh = Some(again);
        }
        if again != token {
            record = make(again);
            guard.write(&record, true)?;
        }
        Ok(Some((guard, record)))
    }

    /// Writes a new file from `body` under a temporary name, whole, locked and
    /// synced, and only then gives it its name.
    fn give_birth(&mut self, temp: &str, body: &[u8], token: Token) -> Result<Option<Image>> {
        let dir = self.folder.dir();
        let place = self.place();
        let file = self.folder.complete(|| sys::create(dir, temp)).map_err(place.fail("create"))?;
        match Self::deliver(&self.folder, &file, temp, place, body, token) {
            Ok(Some(image)) => {
                if let Err(e) = sys::sync_dir(dir, "locks") {
                    sys::unlock(&file);
                    return Err(place.not_durable(e));
                }
                self.opened = Some(Opened { file, known: token.get() });
                Ok(Some(image))
            }
            other => {
                // Whatever went wrong before matters more than a leftover, which `sweep` finds.
                let _ = sys::remove(dir, temp);
                other
            }
        }
    }

    fn deliver(
        folder: &Folder,
        file: &OwnedFd,
        temp: &str,
        place: Place<'_>,
        body: &[u8],
        token: Token,
    ) -> Result<Option<Image>> {
        sys::try_lock(file, false).map_err(place.fail("lock"))?;
        let image = image::write_new(file, place, body, token.get())?;
        sys::sync(file).map_err(place.fail("sync"))?;
        match folder.complete(|| sys::rename_new(folder.dir(), temp, place.file)) {
            Ok(()) => Ok(Some(image)),
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(place.fail("create")(e)),
        }
    }

    /// Opens the file unless it is open; `None` if there is none.
    fn open(&mut self) -> Result<Option<(&Opened, Place<'_>)>> {
        if self.opened.is_none() {
            match sys::open(self.folder.dir(), self.name.file()) {
                Ok(file) => self.opened = Some(Opened { file, known: 0 }),
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(self.place().fail("open")(e)),
            }
        }
        Ok(self.opened.as_ref().map(|opened| (opened, self.place())))
    }

    fn place(&self) -> Place<'_> {
        place(&self.folder, &self.name)
    }

    /// The guard, which the caller has.
    fn guard(&mut self, state: Option<State>) -> Option<Guard<'_>> {
        self.state = state;
        let Self { folder, name, opened, buffers, known, image, state } = self;
        let line = Line::default();
        opened.as_mut().map(|opened| Guard {
            folder,
            name,
            opened,
            buffers,
            known,
            image,
            state,
            line,
        })
    }
}

impl Guard<'_> {
    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`], or what the system says.
    pub fn read(&mut self) -> Result<Stored> {
        self.read_front(usize::MAX)
    }

    /// The token of a hold that begins with the next write.
    ///
    /// # Errors
    /// What the system says when the floor must be read or raised.
    pub fn next_token(&mut self) -> Result<Token> {
        let tokens = self.folder.tokens();
        let (image, state) = self.mended()?;
        let due = state.raised || image.header.floor_due;
        let token = tokens.next(state.last_token, due)?;
        state.fresh = due.then_some(token).or(state.fresh);
        Ok(token)
    }

    /// Writes the record; `synced`: so that it survives a power cut. Returns its version.
    ///
    /// # Errors
    /// After [`Error::NotDurable`] the record is there; after any other it is not.
    pub fn write(&mut self, record: &Record, synced: bool) -> Result<Version> {
        let (folder, place) = (self.folder, place(self.folder, self.name));
        let (image, state) = self.mended()?;
        let stamp = proof(record);
        // A stamp that is only carried along keeps its clock.
        let clock = match stamp {
            None => Clock::default(),
            Some(_) if stamp == state.stamp => state.clock,
            Some(_) => folder.clock(),
        };
        let header = state.next_header(image, record.last_token, synced, folder.tokens().floor());
        if header.synced && header.entry_due {
            sys::sync_dir(folder.dir(), "locks").map_err(place.fail("sync"))?;
            state.entry_known = true;
        }
        let entry_due = header.entry_due && !state.entry_known;
        let incarnation = state.incarnation;
        let line = self.encode(incarnation, clock, record, header.sequence)?;
        let header = Header { entry_due, logged: !line.log().is_none(), ..header };
        let log = *line.log();
        self.put(header, About { incarnation, sequence: header.sequence, clock, log })?;
        self.line = line;
        if let Some(state) = self.state {
            (state.stamp, state.clock, state.last_token) = (stamp, clock, record.last_token);
        }
        if header.synced {
            sys::sync(&self.opened.file).map_err(|e| place.not_durable(e))?;
            self.opened.known = header.sequence;
        }
        Ok(Version { incarnation: incarnation.into(), revision: header.sequence })
    }

    /// Deletes the record, after raising the floor above every token it ever gave.
    ///
    /// # Errors
    /// What the system says.
    pub fn delete(mut self) -> Result<()> {
        let (folder, place) = (self.folder, place(self.folder, self.name));
        let (image, state) = self.mended()?;
        let used = image.header.sequence.max(state.last_token.get());
        folder.tokens().raise_to(used.saturating_add(1))?;
        sys::remove(folder.dir(), place.file).map_err(place.fail("delete"))?;
        sys::sync_dir(folder.dir(), "locks").map_err(|e| place.not_durable(e))
    }

    /// Replaces a record that cannot be read by `record`, whose tokens will be above all given so
    /// far; a record that can be read is replaced like by [`write`](Self::write).
    ///
    /// # Errors
    /// What the system says; [`Error::NewerFormat`] if only this version cannot read it.
    pub fn repair(&mut self, mut record: Record) -> Result<Version> {
        match self.read() {
            Err(Error::Damaged { .. }) => {}
            Err(e) => return Err(e),
            Ok(_) => return self.write(&record, true),
        }
        let place = place(self.folder, self.name);
        let floor = self.folder.tokens().raise()?;
        record.last_token = record.last_token.max(Token::new(floor));
        let incarnation = facts::random_u64()?;
        let clock = if record.holder.is_some() { self.folder.clock() } else { Clock::default() };
        let mut body = Vec::new();
        codec::encode(incarnation, self.name.as_str(), clock, &record, &mut body);
        let file = &self.opened.file;
        sys::truncate(file, 0).map_err(place.fail("truncate"))?;
        image::write_new(file, place, &body, floor)?;
        sys::sync(file).map_err(|e| place.not_durable(e))?;
        self.opened.known = floor;
        self.read().map(|stored| stored.version)
    }

    /// The state, read if need be, with the floor raised if damage was seen: what is lost may have
    /// given tokens.
    fn mended(&mut self) -> Result<(&Image, &mut State)> {
        if self.state.is_none() {
            self.read_again()?;
        }
        let damaged = self.image.damaged;
        if damaged && self.state.as_ref().is_some_and(|state| !state.raised) {
            self.folder.tokens().raise_past(self.image.header.sequence)?;
        }
        let place = place(self.folder, self.name);
        let state = self.state.as_mut().ok_or_else(|| place.fail("read")(Errno::BADF))?;
        state.raised = damaged;
        Ok((self.image, state))
    }

    /// Writes the body that was encoded into the slot that is due. Until that has worked the record
    /// must be read again.
    fn put(&mut self, header: Header, about: About) -> Result<()> {
        let put = self.try_put(header);
        match &put {
            Ok(true) => self.known.written(about),
            Ok(false) => {}
            Err(_) => *self.state = None,
        }
        put.map(drop)
    }

    /// Whether the body stands in the slot.
    fn try_put(&mut self, header: Header) -> Result<bool> {
        let place = place(self.folder, self.name);
        let Opened { file, known } = &mut *self.opened;
        let image = &mut *self.image;
        let (target, durable) = loop {
            let durable = slots::durable(&image.slots, *known);
            match slots::plan(&image.slots, image.newest, durable) {
                Plan::Write(target) => break (target, durable),
                Plan::SyncFirst => {
                    sys::sync(file).map_err(place.fail("sync"))?;
                    *known = image.header.sequence;
                }
            }
        };
        let header = Header { durable, ..header };
        image::write_slot(file, place, image, target, header, self.known.bytes())?;
        Ok(image.header.is_inline())
    }
}

impl State {
    fn of(loaded: &Loaded) -> Self {
        let record = &loaded.stored.record;
        Self {
            incarnation: loaded.incarnation,
            last_token: record.last_token,
            stamp: proof(record),
            clock: loaded.stored.clock,
            raised: false,
            fresh: None,
            entry_known: false,
        }
    }

    /// The header of the next write, but for what depends on the slot it goes to.
    fn next_header(&self, image: &Image, last_token: Token, synced: bool, floor: u64) -> Header {
        let (last, damaged) = (&image.header, image.damaged);
        // What was lost may have been seen by others. The floor was raised beyond its sequences.
        let least = if damaged { floor } else { 0 };
        let sequence = last.sequence.saturating_add(1).max(least);
        let settled = self.fresh.is_some_and(|token| last_token >= token);
        Header {
            sequence,
            // There must be two good slots again before one is written without care.
            synced: synced || damaged,
            floor_due: (last.floor_due || damaged) && !settled,
            entry_due: last.entry_due && !self.entry_known,
            ..Header::default()
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        sys::unlock(&self.opened.file);
    }
}

fn place<'a>(folder: &'a Folder, name: &'a LockName) -> Place<'a> {
    Place { folder: folder.path(), file: name.file(), lock: Some(name.as_str()) }
}

fn proof(record: &Record) -> Option<(Mark, Time)> {
    record.holder.as_ref().map(|h| (h.mark, h.stamp))
}

fn is_unlinked(file: &OwnedFd, place: Place<'_>) -> Result<bool> {
    sys::is_unlinked(file).map_err(place.fail("read"))
}

mod front;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust;

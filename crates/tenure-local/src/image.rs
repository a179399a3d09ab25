//! One lock's file as read and written: slots and areas brought together with system calls.
//!
//! Owns which bytes are read and in which order they are written; leaves the choice of the slot to
//! [`slots`](crate::slots) and the meaning of a body to [`codec`](crate::codec). A body outside its
//! slot is written before the header that names it, and room for it is synced before that.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::Record;

use crate::codec::PastBytes;
use crate::guard::Stored;
use crate::known::{About, Known};
use crate::line::Line;
use crate::slots::{self, Area, BODY_MAX, FILE, HEADER, Header, SLOT, SLOTS, Slot};
use crate::{Error, Result, codec, sys};

/// What stands outside the slots begins at multiples of this.
const PAGE: usize = 4096;
/// The smallest area for a long body.
const AREA_MIN: usize = 4096;

/// How often a reader without the guard looks before it believes in damage.
const LOOKS: usize = 8;
/// The pause between those looks; a write takes a few microseconds.
const PAUSE: Duration = Duration::from_micros(50);

/// Where a file is, for messages; the path is only put together when there is one to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The store folder.
    pub(crate) folder: &'a Path,
    /// The file in it.
    pub(crate) file: &'a CStr,
    /// The lock, if its name is known.
    pub(crate) lock: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(self.file.to_string_lossy().as_ref())
    }

    /// Turns a system error into ours.
    pub(crate) fn fail(self, doing: &'static str) -> impl FnOnce(Errno) -> Error + 'a {
        move |e| self.system(doing, e)
    }

    #[cold]
    fn system(&self, doing: &'static str, source: Errno) -> Error {
        Error::system(doing, &self.path(), source)
    }

    #[cold]
    pub(crate) fn not_durable(&self, source: Errno) -> Error {
        Error::NotDurable { path: self.path(), source }
    }

    /// The record there cannot be used, and why.
    #[cold]
    pub(crate) fn damaged(&self, problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        let lock = self.lock.map_or_else(|| self.file.to_string_lossy(), Into::into).into_owned();
        Error::Damaged { lock, path: self.path(), problem: problem.into() }
    }
}

/// The headers of a file, and which of its slots is the record.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) slots: [Slot; SLOTS],
    /// Index of the newest whole slot.
    pub(crate) newest: usize,
    /// Its header.
    pub(crate) header: Header,
    /// Whether any slot is not whole.
    pub(crate) damaged: bool,
    /// The bytes of the headers, where they are known to be what `slots` says and not damaged. No
    /// bytes may stand for those that are not known: damage may be any, also zeros.
    heads: [Option<[u8; HEADER]>; SLOTS],
}

impl Image {
    /// Makes `newest`, which has this header, the record.
    fn point_at(&mut self, newest: usize, header: Header) {
        (self.newest, self.header) = (newest, header);
        self.damaged = self.slots.contains(&Slot::Bad);
    }

    /// Whether the headers in `page` are those this image was made of, so that it needs no other.
    fn is_in(&self, page: &[u8]) -> bool {
        let mut heads = self.heads.iter().enumerate();
        heads.all(|(i, head)| head.is_some() && head_of(page, i) == head.as_ref()) && !self.damaged
    }

    /// It was made of `page`, unless that was not `whole`.
    fn seen(&mut self, page: &[u8], whole: bool) {
        for (i, head) in self.heads.iter_mut().enumerate() {
            *head = head_of(page, i).filter(|_| whole).copied();
        }
    }
}

impl Default for Image {
    fn default() -> Self {
        let (slots, header, heads) = ([Slot::Bad; SLOTS], Header::default(), [None; SLOTS]);
        Self { slots, newest: 0, header, damaged: true, heads }
    }
}

fn head_of(page: &[u8], slot: usize) -> Option<&[u8; HEADER]> {
    page.get(slot * SLOT..).and_then(|slot| slot.first_chunk())
}

/// What [`load`] found beside the image.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) incarnation: u64,
    pub(crate) name: String,
    pub(crate) stored: Stored,
    /// The waiters that do not stand in the body, of whom those who were asked for are in the record.
    pub(crate) line: Line,
}

impl Loaded {
    fn new(about: About, record: Box<Record>, name: String) -> Self {
        let (version, clock, damaged) = (about.version(), about.clock, false);
        let stored = Stored { record, version, clock, damaged };
        let line = Line::cleared(&about.log);
        Self { incarnation: about.incarnation, name, stored, line }
    }

    /// Reads the first `front` waiters, as far as they do not stand in the body; whether they are
    /// those who were written.
    fn add_line(
        &mut self,
        file: &OwnedFd,
        about: About,
        front: usize,
        bytes: &mut Vec<u8>,
    ) -> rustix::io::Result<bool> {
        if about.log.line.count == 0 {
            return Ok(true);
        }
        let queue = &mut self.stored.record.queue;
        let read = Line::read(file, about.log, front.saturating_sub(queue.len()), bytes)?;
        let Some((waiters, line)) = read else { return Ok(false) };
        queue.extend(waiters);
        self.line = line;
        Ok(true)
    }
}

/// What a file is read into.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// A body that is too long for it, or a line.
    long: Vec<u8>,
    /// The part of a body that the next one most likely has, too.
    pub(crate) past: PastBytes,
}

/// Reads the newest whole record of a file, and its headers into `image`; what is `known` is not
/// decoded again, and of a long line only the first `front` waiters are read.
pub(crate) fn load(
    file: &OwnedFd,
    place: Place<'_>,
    buffers: &mut Buffers,
    known: &mut Known,
    front: usize,
    image: &mut Image,
) -> Result<Loaded> {
    let mut page = [MaybeUninit::uninit(); FILE];
    let page = loop {
        match rustix::io::pread(file, &mut page, 0) {
            Ok((page, _)) => break &*page,
            Err(Errno::INTR) => {}
            Err(e) => return Err(place.fail("read")(e)),
        }
    };
    if image.is_in(page)
        && let Some(whole) = inline(page, image.newest, &image.header)
        && let Some((about, record)) = known.take(whole)
    {
        return Ok(Loaded::new(about, record, String::new()));
    }
    let reader = Reader { file, place, buffers, known, front };
    let loaded = reader.read(page, image);
    image.seen(page, loaded.as_ref().is_ok_and(|loaded| !loaded.stored.damaged));
    loaded
}

/// Who reads a page that is not known.
struct Reader<'a> {
    file: &'a OwnedFd,
    place: Place<'a>,
    buffers: &'a mut Buffers,
    known: &'a mut Known,
    front: usize,
}

impl Reader<'_> {
    #[inline(never)]
    fn read(self, page: &[u8], image: &mut Image) -> Result<Loaded> {
        let place = self.place;
        for (i, slot) in image.slots.iter_mut().enumerate() {
            *slot = Slot::decode(page.get(i * SLOT..).unwrap_or_default());
            if let Slot::Newer(found) = *slot {
                return Err(Error::NewerFormat {
                    path: place.path(),
                    found,
                    known: slots::VERSION,
                });
            }
        }
        let Buffers { long, past } = self.buffers;
        for newest in slots::by_age(&image.slots) {
            let Slot::Good(header) = image.slots[newest] else { continue };
            let whole = inline(page, newest, &header);
            let bytes = match whole {
                Some(whole) => whole.get(HEADER..).unwrap_or_default(),
                None => in_area(self.file, &header, long).map_err(place.fail("read"))?,
            };
            let fits = header.fits(bytes);
            let body = fits.then(|| codec::decode_in(bytes, header.logged, past)).flatten();
            let Some(body) = body else {
                image.slots[newest] = Slot::Bad;
                continue;
            };
            if let Some(lock) = place.lock.filter(|lock| *lock != body.name) {
                let name = body.name;
                return Err(place.damaged(format!("it is the record of {name:?}, not of {lock:?}")));
            }
            let (incarnation, sequence, clock) = (body.incarnation, header.sequence, body.clock);
            let about = About { incarnation, sequence, clock, log: body.log };
            if let Some(whole) = whole {
                self.known.note(whole, about);
            }
            let name = if place.lock.is_some() { String::new() } else { body.name.to_owned() };
            image.point_at(newest, header);
            let mut loaded = Loaded::new(about, body.record.into(), name);
            let added = loaded.add_line(self.file, about, self.front, long);
            image.damaged |= !added.map_err(place.fail("read"))?;
            loaded.stored.damaged = image.damaged;
            return Ok(loaded);
        }
        let problem = if page.is_empty() { "the file is empty" } else { "no slot is whole" };
        Err(place.damaged(problem))
    }
}

/// Reads the slots as they are, in one call: a regular file is read short only at its end. All
/// headers are in them, so no write leaves them as they were.
pub(crate) fn raw_slots(file: &OwnedFd, slots: &mut [u8; FILE]) -> rustix::io::Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut slots[..], 0))
}

/// Reads the newest whole record without the guard, while others may be writing: a record that is
/// just being written looks damaged for a moment, so it looks again before it believes that.
pub(crate) fn load_unguarded(
    file: &OwnedFd,
    place: Place<'_>,
    buffers: &mut Buffers,
) -> Result<Loaded> {
    let (known, image) = (&mut Known::default(), &mut Image::default());
    for _ in 1..LOOKS {
        match load(file, place, buffers, known, usize::MAX, image) {
            Ok(loaded) if loaded.stored.damaged => {}
            Err(Error::Damaged { .. }) => {}
            result => return result,
        }
        std::thread::sleep(PAUSE);
    }
    load(file, place, buffers, known, usize::MAX, image)
}

/// The slot's header and body, if the body stands in it.
fn inline<'a>(page: &'a [u8], slot: usize, header: &Header) -> Option<&'a [u8]> {
    let start = slot * SLOT;
    let len = HEADER + header.len as usize;
    header.is_inline().then(|| page.get(start..start + len).unwrap_or_default())
}

fn in_area<'a>(
    file: &OwnedFd,
    header: &Header,
    long: &'a mut Vec<u8>,
) -> rustix::io::Result<&'a [u8]> {
    long.resize(header.len as usize, 0);
    let n = sys::read_at(file, long, header.area.offset)?;
    Ok(&long[..n])
}

/// Writes a whole new file: `body` three times, each as durable as the other.
pub(crate) fn write_new(
    file: &OwnedFd,
    place: Place<'_>,
    body: &[u8],
    sequence: u64,
) -> Result<Image> {
    check_length(body.len())?;
    let meant = Header {
        sequence,
        durable: sequence,
        synced: true,
        floor_due: true,
        entry_due: true,
        ..Header::default()
    };
    let mut header = meant.with_body(body);
    let capacity = if header.is_inline() { 0 } else { capacity_for(body) };
    let mut bytes = vec![0; if capacity == 0 { FILE } else { PAGE + SLOTS * capacity }];
    let mut slots = [Slot::Bad; SLOTS];
    for (i, slot) in slots.iter_mut().enumerate() {
        let offset = PAGE + i * capacity;
        let start = if capacity == 0 { i * SLOT + HEADER } else { offset };
        header.area = area(if capacity == 0 { 0 } else { offset as u64 }, capacity);
        bytes[start..start + body.len()].copy_from_slice(body);
        bytes[i * SLOT..i * SLOT + HEADER].copy_from_slice(&header.encode());
        *slot = Slot::Good(header);
    }
    sys::write_at(file, &bytes, 0).map_err(place.fail("write"))?;
    let Slot::Good(header) = slots[0] else { return Err(place.damaged("no slot")) };
    let mut image = Image { slots, ..Image::default() };
    image.point_at(0, header);
    Ok(image)
}

/// Writes a body into slot `target` under a header that says what `meant` says. `whole` is the body
/// behind room for a header.
pub(crate) fn write_slot(
    file: &OwnedFd,
    place: Place<'_>,
    image: &mut Image,
    target: usize,
    meant: Header,
    whole: &mut [u8],
) -> Result<()> {
    let Some((room, body)) = whole.split_first_chunk_mut::<HEADER>() else {
        return Err(place.damaged("no room for a header"));
    };
    check_length(body.len())?;
    let kept = image.slots[target].good().map(|h| h.area).unwrap_or_default();
    let mut header = Header { area: kept, ..meant.with_body(body) };
    (image.slots[target], image.heads[target], image.damaged) = (Slot::Bad, None, true);
    if !header.is_inline() {
        header.area = write_in_area(file, place, header.area, body)?;
    }
    let head = header.encode();
    *room = head;
    let bytes = if header.is_inline() { whole } else { &head[..] };
    sys::write_at(file, bytes, (target * SLOT) as u64).map_err(place.fail("write"))?;
    (image.slots[target], image.heads[target]) = (Slot::Good(header), Some(head));
    image.point_at(target, header);
    Ok(())
}

/// Writes a body to where its slot keeps long ones, or to a larger place.
#[cold]
fn write_in_area(file: &OwnedFd, place: Place<'_>, area: Area, body: &[u8]) -> Result<Area> {
    if (area.capacity as usize) < body.len() {
        return grow(file, place, body, capacity_for(body));
    }
    sys::write_at(file, body, area.offset).map_err(place.fail("write"))?;
    Ok(area)
}

/// Makes a new area at the end of the file, with `body` in it. It is written to its full length
/// and synced, so that a full disk is noticed now and not when a holder wants to release.
#[cold]
pub(crate) fn grow(file: &OwnedFd, place: Place<'_>, body: &[u8], capacity: usize) -> Result<Area> {
    let stat = sys::stat(file).map_err(place.fail("read"))?;
    let end = u64::try_from(stat.st_size).unwrap_or(0).max(PAGE as u64);
    let offset = end.next_multiple_of(PAGE as u64);
    let mut bytes = body.to_vec();
    bytes.resize(capacity, 0);
    sys::write_at(file, &bytes, offset).map_err(place.fail("write"))?;
    sys::sync(file).map_err(place.fail("sync"))?;
    Ok(area(offset, capacity))
}

fn capacity_for(body: &[u8]) -> usize {
    body.len().next_power_of_two().max(AREA_MIN)
}

fn area(offset: u64, capacity: usize) -> Area {
    // No capacity exceeds the longest body, which fits.
    Area { offset, capacity: u32::try_from(capacity).unwrap_or(u32::MAX) }
}

/// Whether a body or a line of this length would be read back.
pub(crate) fn check_length(len: usize) -> Result<()> {
    if len <= BODY_MAX {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the record would be {len} bytes long, the longest is {BODY_MAX}; use fewer waiters or tags"
    )))
}

#[cfg(test)]
mod tests;

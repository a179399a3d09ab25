//! What the back tells, and what of it the front has not been able to take in yet.
//!
//! A front that is stopped reads nothing, and the kernel keeps only so much for it; and what stands
//! in a record may be longer than any message. **What has to be known is told however late, and cut
//! short rather than not at all.** Of what only shows how things stand the latest is enough.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use super::News;
use super::link::{Link, Sent};
use crate::clock;

/// The longest text of others that is passed on, in bytes: also where each is written as six, all of
/// it is one message.
const TEXT_MAX: usize = 4096;

/// News on their way to the front.
#[derive(Debug)]
pub(super) struct Outbox {
    link: Link,
    unsent: VecDeque<News>,
}

impl Outbox {
    pub(super) const fn new(link: Link) -> Self {
        Self { link, unsent: VecDeque::new() }
    }

    /// Where the orders come in.
    pub(super) const fn link(&self) -> &Link {
        &self.link
    }

    /// Tells it as soon as the front can take it in.
    pub(super) fn tell(&mut self, mut news: News) {
        if let Some(text) = text_of(&mut news) {
            cut(text);
        }
        self.unsent.retain(|old| !matches!(old, News::Waiting(_) | News::Renewed));
        self.unsent.push_back(news);
        self.flush();
    }

    /// Sends what can be sent.
    pub(super) fn flush(&mut self) {
        while let Some(news) = self.unsent.front() {
            match self.link.send(news) {
                Sent::Later => return,
                // That it is gone is seen where orders are awaited.
                Sent::Done | Sent::Gone => drop(self.unsent.pop_front()),
            }
        }
    }

    /// To be waited for until it can be written to.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        (!self.unsent.is_empty()).then(|| self.link.as_fd())
    }

    /// Sends the rest, if that can be done until then.
    pub(super) fn finish(&mut self, limit: Duration) {
        self.flush();
        while let (Some(link), Some(left)) = (self.waits_for(), limit.checked_sub(clock::now())) {
            clock::wait(std::iter::empty(), Some(link), Some(left));
            self.flush();
        }
    }
}

/// What somebody else may have made as long as he liked.
fn text_of(news: &mut News) -> Option<&mut String> {
    match news {
        News::Waiting(waiting) => Some(&mut waiting.by.id),
        News::Busy(by) | News::TimedOut(by) => Some(&mut by.id),
        News::Failed { text, .. } | News::NotReleased { text } | News::Warning { text } => {
            Some(text)
        }
        News::Lost { why } => Some(why),
        News::Acquired { .. } | News::Left | News::Renewed | News::Released => None,
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::Came;
    use super::*;
    use crate::contend::{By, Waiting};

    fn by(id: String) -> By {
        let (pid, orphan, token, since, ends_in) = (None, None, None, 0, None);
        By { id, pid, orphan, token, is_next: false, since, ends_in }
    }

    fn waiting(id: &str) -> News {
        News::Waiting(Waiting { place: None, ticket: None, by: by(id.to_owned()) })
    }

    #[test]
    fn what_a_front_that_was_stopped_has_to_know_is_told_it() {
        let (front, back) = Link::pair().unwrap();
        let mut outbox = Outbox::new(back);
        for n in 0..2_000 {
            outbox.tell(waiting(&n.to_string()));
        }
        assert!(outbox.waits_for().is_some(), "the kernel keeps more than was sent here");
        let (id, store, grace) = (String::new(), String::new(), Duration::ZERO);
        outbox.tell(News::Acquired { token: 7, id, store, grace });
        for _ in 0..2_000 {
            outbox.tell(News::Renewed);
        }
        assert!(outbox.unsent.len() <= 2, "it grows");
        let mut acquired = 0;
        while let Came::One(news) = front.receive::<News>() {
            acquired += u32::from(matches!(news, News::Acquired { token: 7, .. }));
            outbox.flush();
        }
        assert_eq!((acquired, outbox.waits_for().is_none()), (1, true));
    }

    #[test]
    fn a_name_of_any_length_is_passed_on_cut_short() {
        for (len, what) in [(10, "a"), (100_000, "\u{1}"), (1 << 20, "é")] {
            let (front, back) = Link::pair().unwrap();
            Outbox::new(back).tell(News::Busy(by(what.repeat(len))));
            let Came::One(News::Busy(by)) = front.receive() else { panic!("{len}") };
            assert!(by.id.starts_with(what) && by.id.len() <= TEXT_MAX + 3, "{len}");
        }
    }
}

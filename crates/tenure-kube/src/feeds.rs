//! Which watches are open on the server, and who of this process listens to which.
//!
//! ```text
//! one object ──> a feed of that object, whoever listens
//! a second object of the resource and namespace ──> one feed of all, and the first's moves there
//!                  └──not permitted──> a feed for each object
//! no watch can be had ──> no feed: who wants to know has to look
//! ```
//!
//! Owns the listeners and what each was told last; knows nothing of requests, nor of locks. **A feed
//! tells everybody when it begins, and each time something may have been missed**: whoever listens
//! then looks for himself, so that nobody is silent about a state that stays.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tenure_store::Error;
use tokio::sync::watch::{self, Receiver, Sender};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::format::Spot;
use crate::http::Failed;
use crate::store::Shared;
use crate::stream::Stream;

/// Who gives up a feed after this long wanted to know something: no attempt is shorter.
const SLOW: Duration = Duration::from_millis(90);
/// After how long without any watch people are told.
const OUTAGE: Duration = Duration::from_secs(5);

/// What is watched: all objects under this path, or one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) all: String,
    pub(crate) object: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Is(Arc<Value>),
    /// Nothing was there at this version, or since.
    Gone(u64),
}

/// How a feed ended.
#[derive(Clone, Debug)]
pub(crate) enum Over {
    /// There is another one now, or none can be had: listen anew.
    Moved,
    Failed(Arc<Failed>),
}

/// What one listener knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// How often the feed has begun. 0: it has not.
    pub(crate) begun: u64,
    /// Whether the news tell what stood there when it began.
    pub(crate) told: bool,
    /// The latest.
    pub(crate) news: Option<News>,
    pub(crate) over: Option<Over>,
}

/// All feeds of one store.
#[derive(Default)]
pub(crate) struct Feeds {
    state: Mutex<State>,
    /// A feed was left before it had begun: who listens next looks for himself at once.
    pub(crate) slow: AtomicBool,
}

#[derive(Default)]
struct State {
    feeds: HashMap<Key, Feed>,
    /// The number of the latest feed or listener.
    number: u64,
    /// Where all objects together may not be watched.
    alone: HashSet<String>,
    /// What cannot be watched, until when: nothing under a path, or one object.
    blind: HashMap<Key, Instant>,
    said_blind: HashSet<String>,
    outage: Option<Outage>,
}

/// Watches fail, one after the other.
struct Outage {
    since: Instant,
    said: bool,
}

type Listener = (u64, Arc<Sender<Heard>>);

struct Feed {
    number: u64,
    /// Those of each object, by number.
    listeners: HashMap<String, Vec<Listener>>,
    begun: u64,
    task: Option<AbortHandle>,
}

/// A feed as its own task knows it. Dropping it ends the feed.
pub(crate) struct Source {
    shared: Arc<Shared>,
    pub(crate) key: Key,
    number: u64,
    over: Option<Over>,
}

/// Somebody who listens. Dropping it ends that, and the feed if it was the last.
pub(crate) struct Listening {
    shared: Arc<Shared>,
    key: Key,
    feed: u64,
    object: String,
    number: u64,
    since: Instant,
    tell: Arc<Sender<Heard>>,
    pub(crate) heard: Receiver<Heard>,
    /// Nobody listened before: what the feed begins with is as fresh as a read.
    pub(crate) first: bool,
}

impl Feeds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to what happens to an object; `None`: it cannot be watched.
    pub(crate) fn listen(shared: &Arc<Shared>, spot: &Spot) -> Option<Listening> {
        let mut state = shared.feeds.state();
        if state.is_blind(spot) {
            return None;
        }
        let key = state.key(spot);
        let new = !state.feeds.contains_key(&key);
        let number = state.number();
        let feed = state.feeds.entry(key.clone()).or_insert_with(|| Feed {
            number,
            listeners: HashMap::new(),
            begun: 0,
            task: None,
        });
        let (tell, heard) = watch::channel(Heard { begun: feed.begun, ..Heard::default() });
        let tell = Arc::new(tell);
        let teller = Arc::clone(&tell);
        feed.listeners.entry(spot.object.clone()).or_default().push((number, teller));
        let feed = feed.number;
        drop(state);
        if new {
            // Not under the lock: a runtime that is being shut down drops the task at once.
            let source =
                Source { shared: Arc::clone(shared), key: key.clone(), number: feed, over: None };
            let stream = Stream::new(Arc::clone(shared), source, spot.clone());
            let task = shared.http.spawn(stream.run());
            let mut state = shared.feeds.state();
            match state.feeds.get_mut(&key).filter(|is| is.number == feed) {
                Some(is) => is.task = Some(task),
                None => task.abort(),
            }
        }
        let (shared, object) = (Arc::clone(shared), spot.object.clone());
        let first = new && key.object.is_some();
        let since = Instant::now();
        Some(Listening { shared, key, feed, object, number, since, tell, heard, first })
    }

    /// From now on each object under this path is watched by itself.
    pub(crate) fn watch_alone(&self, all: &str) {
        let new = self.state().alone.insert(all.to_owned());
        if new {
            tracing::info!(
                target: "tenure",
                "not permitted to watch all of {all}: one watch for each lock"
            );
        }
    }

    /// This is not watched for some time.
    pub(crate) fn go_blind(&self, what: Key, time: Duration, why: &str) {
        let mut state = self.state();
        let all = what.all.clone();
        state.blind.insert(what, Instant::now() + time);
        if state.said_blind.insert(all.clone()) {
            drop(state);
            tracing::warn!(
                target: "tenure",
                "cannot watch {all} ({why}): what happens there is seen by looking every few seconds"
            );
        }
    }

    /// A watch failed and none has begun since: says so once, if that goes on.
    pub(crate) fn fail(&self, error: &Error) {
        let mut state = self.state();
        let new = Outage { since: Instant::now(), said: false };
        let outage = state.outage.get_or_insert(new);
        if !outage.said && outage.since.elapsed() >= OUTAGE {
            outage.said = true;
            drop(state);
            tracing::warn!(target: "tenure", "no news from the server, trying again: {error}");
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn is_blind(&mut self, spot: &Spot) -> bool {
        let now = Instant::now();
        self.blind.retain(|_, until| now < *until);
        let of = |object| Key { all: spot.all.clone(), object };
        !self.blind.is_empty()
            && (self.blind.contains_key(&of(None))
                || self.blind.contains_key(&of(Some(spot.object.clone()))))
    }

    /// Which feed tells of an object.
    fn key(&self, spot: &Spot) -> Key {
        let one = Key { all: spot.all.clone(), object: Some(spot.object.clone()) };
        if self.alone.contains(&spot.all) {
            return one;
        }
        let all = Key { object: None, ..one.clone() };
        if self.feeds.contains_key(&all) {
            return all;
        }
        let is_other = |key: &Key| key.all == one.all && key.object != one.object;
        if !self.feeds.contains_key(&one) && self.feeds.keys().any(is_other) { all } else { one }
    }
}

impl Source {
    /// The stream is open, from here on nothing is missed. `told`: it tells what stands there.
    pub(crate) fn begin(&self, told: bool) {
        self.shared.feeds.slow.store(false, Ordering::Relaxed);
        let mut state = self.shared.feeds.state();
        if state.outage.take().is_some_and(|outage| outage.said) {
            tracing::info!(target: "tenure", "the server can be watched again");
        }
        if self.key.object.is_none() {
            // Whoever listens to one object only does so here from now on.
            let all = &self.key.all;
            let moves = |key: &Key, _: &mut Feed| key.all == *all && key.object.is_some();
            for (_, feed) in state.feeds.extract_if(moves) {
                feed.end(&Over::Moved);
            }
        }
        let Some(feed) = state.feeds.get_mut(&self.key).filter(|is| is.number == self.number)
        else {
            return;
        };
        feed.begun += 1;
        let begun = feed.begun;
        for (_, listener) in feed.listeners.values().flatten() {
            listener.send_modify(|heard| (heard.begun, heard.told) = (begun, told));
        }
    }

    /// Something happened to an object.
    pub(crate) fn tell(&self, object: &str, news: &News) {
        let state = self.shared.feeds.state();
        let feed = state.feeds.get(&self.key).filter(|is| is.number == self.number);
        for (_, listener) in feed.and_then(|is| is.listeners.get(object)).into_iter().flatten() {
            listener.send_modify(|heard| heard.news = Some(news.clone()));
        }
    }

    /// To how many objects somebody listens.
    pub(crate) fn objects(&self) -> usize {
        let state = self.shared.feeds.state();
        state.feeds.get(&self.key).map_or(0, |feed| feed.listeners.len())
    }

    /// How it ended.
    pub(crate) fn end(mut self, over: Over) {
        self.over = Some(over);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.shared.feeds.state();
        if state.feeds.get(&self.key).is_none_or(|is| is.number != self.number) {
            return;
        }
        let Some(feed) = state.feeds.remove(&self.key) else { return };
        let ended =
            || Over::Failed(Arc::new(Failed::lost("the runtime that watched was shut down")));
        feed.end(&self.over.take().unwrap_or_else(ended));
    }
}

impl Feed {
    fn end(self, over: &Over) {
        if let Some(task) = self.task {
            task.abort();
        }
        for (_, listener) in self.listeners.values().flatten() {
            listener.send_modify(|heard| heard.over = Some(over.clone()));
        }
    }
}

impl Listening {
    /// What was heard. The news are told once: an object is kept by whoever needs it.
    pub(crate) fn take(&mut self) -> Heard {
        let mut taken = self.heard.borrow_and_update().clone();
        self.tell.send_if_modified(|heard| {
            // What came since the look above is seen now, and once more in vain. What comes before the
            // beginning belongs to it.
            let news = if heard.begun > 0 { heard.news.take() } else { None };
            taken = Heard { begun: heard.begun, told: heard.told, news, over: heard.over.clone() };
            false
        });
        taken
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.heard.borrow().begun == 0 && self.since.elapsed() >= SLOW {
            self.shared.feeds.slow.store(true, Ordering::Relaxed);
        }
        let mut state = self.shared.feeds.state();
        let Some(feed) = state.feeds.get_mut(&self.key).filter(|is| is.number == self.feed) else {
            return;
        };
        if let Some(listeners) = feed.listeners.get_mut(&self.object) {
            listeners.retain(|(number, _)| *number != self.number);
            if listeners.is_empty() {
                feed.listeners.remove(&self.object);
            }
        }
        if feed.listeners.is_empty()
            && let Some(feed) = state.feeds.remove(&self.key)
            && let Some(task) = feed.task
        {
            task.abort();
        }
    }
}

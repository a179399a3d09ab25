//! For tests of programs that use locks: a store in memory whose time is moved by hand and in which
//! things go wrong when they are told to. Needs the feature `testing`; put it where only tests are
//! built with it:
//!
//! ```toml
//! [dev-dependencies]
//! tenure = { version = "0.1", features = ["testing"] }
//! ```
//!
//! The code under test gets a [`Client`](crate::Client) from the test and cannot tell the
//! difference. Nothing here waits for real time.
//!
//! ```
//! use std::time::Duration;
//! use tenure::testing::TestStore;
//! use tenure::{Client, Error, Lost};
//!
//! /// The code under test: counts until it is told to stop.
//! async fn count(client: Client) -> Result<u32, Error> {
//!     let work = |hold: tenure::Hold| async move {
//!         let mut counted = 0;
//!         let mut stopping = std::pin::pin!(hold.stopping());
//!         loop {
//!             tokio::select! {
//!                 () = &mut stopping => return counted,
//!                 () = tokio::task::yield_now() => counted += 1,
//!             }
//!         }
//!     };
//!     client.lock("counter").run(work).await
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! // In a test of your own: #[tokio::test] async fn ..() {
//! let store = TestStore::new();
//! let counting = tokio::spawn(count(store.client()));
//! store.pass(Duration::from_secs(60)).await; // renewed all the time: it goes on
//! assert!(!counting.is_finished());
//!
//! store.lose("counter", Lost::Replaced { by: "somebody".to_owned() }).await;
//! let Err(Error::Lost(Lost::Replaced { by })) = counting.await? else { panic!("still held") };
//! assert_eq!(by, "somebody");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod faults;
mod store;

pub use crate::clock::ManualClock;
pub use store::TestStore;

//! The tour of the library runs on every store there is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../examples/api.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod api;
mod common;

#[tokio::test]
async fn the_tour_runs_in_memory() {
    api::tour("memory:").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_runs_on_several_threads() {
    api::tour("memory:").await.unwrap();
}

#[cfg(all(feature = "local", target_os = "linux"))]
#[tokio::test]
async fn the_tour_runs_on_the_embedded_store() {
    api::tour(&common::Folder::new().url()).await.unwrap();
}

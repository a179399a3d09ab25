//! A web service that builds a report at most once at a time, on however many machines it runs:
//! `cargo run -p tenure --example http [STORE]`, then `curl -X POST localhost:8080/reports/june`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use tenure::{Client, Error, Hold, RunOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "local:".to_owned());
    let client = tenure::connect(&store).await?; // one for the whole program
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, service(client)).await?;
    Ok(())
}

pub(crate) fn service(client: Client) -> Router {
    Router::new().route("/reports/{name}", post(build)).with_state(client)
}

/// Answers at once that somebody else is at it, or builds the report.
///
/// If the browser goes away, axum drops this future: the work ends and the lock is given back.
async fn build(State(client): State<Client>, Path(name): Path<String>) -> (StatusCode, String) {
    let lock = client.lock(&format!("report/{name}"));
    let at_once = RunOptions::new().wait_max(Duration::ZERO);
    match lock.run_with(at_once, report).await {
        Ok(report) => (StatusCode::OK, report),
        Err(Error::TimedOut { held_by }) => {
            (StatusCode::CONFLICT, format!("being built by {held_by}\n"))
        }
        Err(Error::Invalid(what)) => (StatusCode::BAD_REQUEST, format!("{what}\n")),
        Err(error) if error.is_retryable() => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The work. What takes longer than the grace looks at `hold.stopping()` from time to time.
async fn report(hold: Hold) -> String {
    tokio::time::sleep(Duration::from_millis(50)).await;
    format!("built under token {}\n", hold.token())
}

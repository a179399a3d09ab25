//! A worker of which several run and one works: `cargo run -p tenure --example worker [STORE]`.
//!
//! Start it twice: the second takes over when the first ends, by Ctrl-C as by SIGKILL.

use std::pin::pin;
use std::time::Duration;

use tenure::{Client, Error, Hold};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "local:".to_owned());
    let client = tenure::connect(&store).await?;
    let minute = tokio::time::sleep(Duration::from_secs(60)); // or until a signal
    let send = |n, token| println!("mail {n}, token {token}");
    lead(&client, minute, send).await?;
    client.close().await; // waits until the lock is given back
    Ok(())
}

/// Works whenever it has the lock, until `shutdown`.
pub(crate) async fn lead(
    client: &Client,
    shutdown: impl Future<Output = ()>,
    send: impl Fn(u64, u64),
) -> Result<(), Error> {
    let lock = client.lock("mail-sender").ttl(Duration::from_secs(15));
    let mut shutdown = pin!(shutdown);
    loop {
        let outcome = tokio::select! {
            outcome = lock.run(|hold| work(hold, &send)) => outcome,
            // Dropping `run` drops the work first, and then gives the lock back.
            () = &mut shutdown => return Ok(()),
        };
        match outcome {
            Ok(()) => {} // it was told to stop, and did so in time: wait for the lock again
            Err(Error::Lost(cause)) => eprintln!("lost the lock: {cause}"),
            Err(error) if error.is_retryable() => {
                eprintln!("no lock: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error), // a name, a right, a record: somebody must look
        }
    }
}

/// One piece of work after the other, each short beside the grace.
async fn work(hold: Hold, send: impl Fn(u64, u64)) {
    let mut stopping = pin!(hold.stopping());
    for n in 1.. {
        send(n, hold.token()); // what it writes to refuses smaller tokens
        tokio::select! {
            biased; // once told to stop, nothing more
            () = &mut stopping => return,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

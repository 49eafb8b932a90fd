//! A value that is refreshed in the background has a bad day: its source fails, panics and hangs, and readers notice nothing.
//!
//! `cargo run --example snapshot`

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use nanotier::{Keep, Result};

/// A service with moods. Its second to fourth answers are none.
async fn greeting() -> Result<String, &'static str> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    match ASKED.fetch_add(1, Relaxed) {
        1 => Err("the service is down"),
        2 => panic!("the service sends nonsense"),
        3 => std::future::pending().await,
        asked => Ok(format!("hello, number {asked}")),
    }
}

fn main() -> Result<()> {
    let ms = Duration::from_millis;
    let greeting = Keep::new(ms(100)) // in earnest minutes
        .deadline(ms(50))
        .back_off(ms(10), ms(1000))
        .on_error(|error| println!("  a refresh failed: {error}"))
        .keep(greeting)
        .wait()?;

    // A reader, who does not care.
    for _ in 0..10 {
        println!("{} ({:?} old, healthy: {})", greeting.get(), greeting.age(), greeting.healthy());
        std::thread::sleep(ms(40));
    }

    greeting.close().wait()?;
    println!("closed, and still readable: {}", greeting.get());
    Ok(())
}

//! Time that the machine spent suspended counts. Shown in a time namespace of its own, whose clock of time since
//! boot is an hour ahead of the one that leaves suspended time out: as after an hour's sleep.
#![cfg(target_os = "linux")]

use nanotier_clock::{Clock, Moment};
use std::env;
use std::process::Command;
use std::time::Duration;

/// Set for the one who looks, to the time since boot that everyone else had before it was started.
const BEFORE: &str = "NANOTIER_MS_SINCE_BOOT";

#[test]
fn time_spent_suspended_counts() {
    if let Ok(before) = env::var(BEFORE) {
        return assert_an_hour_later(Moment::from_millis(before.parse().unwrap()));
    }
    let in_a_namespace = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--time", "--boottime", "3600", "--fork", "--", program]);
        command
    };
    if !in_a_namespace("true").output().is_ok_and(|made| made.status.success()) {
        // Older systems, and containers, have or permit no such thing.
        println!("NOT RUN: `unshare --time` makes no time namespace here");
        return;
    }
    let looks = in_a_namespace(env::current_exe().unwrap().to_str().unwrap())
        .args(["--exact", "time_spent_suspended_counts"])
        .env(BEFORE, Clock::ticking().now().as_millis().to_string())
        .output()
        .unwrap();
    assert!(looks.status.success(), "{}", String::from_utf8_lossy(&looks.stdout));
}

fn assert_an_hour_later(before: Moment) {
    for clock in [Clock::ticking(), Clock::coarse()] {
        // Less a second: what the coarse clock may be behind.
        assert!(clock.now().since(before) >= Duration::from_secs(3599), "{clock:?} slept through it");
        assert!(clock.now().since(before) < Duration::from_secs(3700), "{clock:?} is ahead");
    }
}

use nanotier::memoize;

#[memoize(ttl = "5 minutes")]
fn no_duration(x: u64) -> u64 {
    x
}

#[memoize(ttl = 5)]
fn no_text(x: u64) -> u64 {
    x
}

#[memoize(ttl = "0s")]
fn zero(x: u64) -> u64 {
    x
}

#[memoize(stale = "1h")]
fn stale_without_ttl(x: u64) -> u64 {
    x
}

#[memoize(size = 100)]
fn unknown(x: u64) -> u64 {
    x
}

#[memoize(capacity)]
fn no_value(x: u64) -> u64 {
    x
}

#[memoize(ttl = "1s", ttl = "2s")]
fn twice(x: u64) -> u64 {
    x
}

fn main() {}

use nanotier::memoize;

#[memoize(result)]
fn plain(x: u64) -> u64 {
    x
}

fn main() {}

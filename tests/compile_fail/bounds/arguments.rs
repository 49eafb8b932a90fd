use nanotier::memoize;

#[memoize]
fn price(amount: f64) -> u64 {
    amount as u64
}

fn main() {}

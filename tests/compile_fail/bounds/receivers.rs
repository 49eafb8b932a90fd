use nanotier::memoize;

struct Shop {
    id: u64,
}

impl Shop {
    #[memoize(key = "(self.id, item)")]
    async fn stock(&self, item: u64) -> u64 {
        self.id * item
    }

    #[memoize(key = "(self.id, item)", ttl = "1m", stale = "1h")]
    fn price(&self, item: u64) -> u64 {
        self.id * item
    }
}

fn main() {}

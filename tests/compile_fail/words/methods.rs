use nanotier::memoize;

struct Shop {
    id: u64,
}

impl Shop {
    #[memoize]
    fn price(&self, item: u64) -> u64 {
        self.id * item
    }

    #[memoize(key = "(self.id, item)")]
    fn sell(&mut self, item: u64) -> u64 {
        self.id -= item;
        item
    }
}

fn main() {}

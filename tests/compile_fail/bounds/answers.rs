use nanotier::memoize;

struct Page(String);

#[memoize]
fn page(id: u64) -> Page {
    Page(id.to_string())
}

fn main() {}

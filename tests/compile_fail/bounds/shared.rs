use std::rc::Rc;

use nanotier::memoize_async;

fn main() {
    let _ = memoize_async(async |x: u64| {
        let held = Rc::new(x);
        std::future::ready(()).await;
        *held
    });
}

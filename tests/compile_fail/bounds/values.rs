use nanotier::memoize;

fn main() {
    // Eight arguments.
    let _ = memoize(|a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8| a + b + c + d + e + f + g + h);
    // No key.
    let _ = memoize(|amount: f64| amount as u64);
    let double = memoize(|x: u64| x * 2).build().unwrap();
    // Another type.
    let _ = double.call("two");
    // Another number of arguments.
    let _ = double.call(1, 2);
}

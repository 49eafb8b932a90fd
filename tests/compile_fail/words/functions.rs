use nanotier::memoize;

#[memoize]
struct NoFunction;

#[memoize]
fn changes(list: &mut Vec<u64>) -> usize {
    list.push(1);
    list.len()
}

#[memoize]
fn some_type(x: impl Into<u64>) -> u64 {
    x.into()
}

#[memoize]
fn some_answer(x: u64) -> impl Iterator<Item = u64> {
    0..x
}

#[memoize]
fn borrows(text: &str) -> &str {
    text
}

#[memoize]
fn nothing(x: u64) {
    println!("{x}");
}

#[memoize]
const fn constant(x: u64) -> u64 {
    x
}

#[memoize]
fn eight(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
    a + b + c + d + e + f + g + h
}

#[memoize]
fn sized<const N: usize>(x: [u8; N]) -> usize {
    x.len()
}

#[memoize]
fn err_too(text: String) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

fn main() {}

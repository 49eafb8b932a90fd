use nanotier::memoize;

fn main() {
    let length = memoize(|text: &str| text.len()).build().unwrap();
    let text = String::from("text");
    length.call(text.as_str());
}

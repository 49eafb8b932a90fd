//! What cannot be memoized is refused in words that say what to do.
//!
//! `TRYBUILD=overwrite cargo test --test compile_fail` writes down what is said now.

/// The words of the macro, in `words`, are ours. Where a bound is not kept, in `bounds`, the compiler adds its own, which
/// change with it: they are compared under the one that they were written down under.
const WRITTEN_UNDER: &str = "rustc 1.95";

#[test]
fn what_cannot_be_memoized_is_refused_in_words() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/words/*.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        std::process::Command::new(rustc).arg("--version").output().expect("there is a compiler").stdout;
    let version = String::from_utf8_lossy(&version);
    if version.starts_with(WRITTEN_UNDER) {
        cases.compile_fail("tests/compile_fail/bounds/*.rs");
    } else {
        println!("NOT COMPARED: what {} says of bounds", version.trim());
    }
}

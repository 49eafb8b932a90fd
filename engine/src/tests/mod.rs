//! Tests that walk the whole structure after each step, and so need `validate`.

mod bounds;
mod budget;
mod model;
mod panics;
mod subject;

//! Tests that walk the whole structure after each step, and so need `validate`.

mod bounds;
mod budget;
mod churn;
mod model;
mod panics;
mod subject;

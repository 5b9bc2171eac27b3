//! The one integration test binary. Tests that need a real server from a package registry are `#[ignore = "needs ..."]`
//! and run by `tests/run.sh`.

mod config;
mod engine;
mod fakes;
mod golden;
mod history;
mod notify;
mod real;
mod source;
mod tidy;

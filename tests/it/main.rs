//! The one integration test binary. Tests that need a real server from a package registry are `#[ignore = "needs ..."]`
//! and run by `tests/run.sh`.

mod alertmanager;
mod config;
mod daemon;
mod engine;
mod example;
mod exporter;
mod fakes;
mod fast_path;
mod faults;
mod files;
mod golden;
mod heartbeat;
mod history;
mod kinds;
mod mail;
mod memory;
mod notify;
mod notify_test;
mod oracle;
mod quality;
mod real;
mod remote_read;
mod replay;
mod route;
mod same_decisions;
mod server;
mod silences;
mod source;
mod source_real;
mod state;
mod store;
mod systemd;
mod templates;
mod tidy;
mod windows;

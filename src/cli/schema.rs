//! `slowburn schema`: the JSON Schema of the configuration.

use std::io::Write;
use std::process::ExitCode;

use crate::config::schema::schema;

pub fn run() -> anyhow::Result<ExitCode> {
    let mut out = serde_json::to_string_pretty(&schema())?;
    out.push('\n');
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(super::FINE.into())
}

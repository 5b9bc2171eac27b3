//! `slowburn schema`: the JSON Schema of the configuration, or of files of rule tests.

use std::io::Write;
use std::process::ExitCode;

use crate::config::schema::schema;
use crate::config::testing;

#[derive(Debug, clap::Args)]
pub struct Schema {
    /// Of files of rule tests, as 'slowburn test' reads them, instead
    #[arg(long)]
    test: bool,
}

pub fn run(args: &Schema) -> anyhow::Result<ExitCode> {
    let schema = if args.test { testing::schema() } else { schema() };
    let mut out = serde_json::to_string_pretty(&schema)?;
    out.push('\n');
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(super::FINE.into())
}

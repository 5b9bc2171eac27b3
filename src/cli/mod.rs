//! The subcommands, one file each, thin.

pub mod rules_export;

//! The configuration: what is shipped loads as it is.

use std::path::Path;

use slowburn::config;

#[test]
fn the_example_loads_without_a_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/checkout/slowburn.yml");
    match config::load(&path, &|_| None) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false)),
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}

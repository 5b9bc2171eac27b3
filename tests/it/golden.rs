//! Files beside the tests that hold what users read. `UPDATE_GOLDEN=1 cargo test` writes them anew; read the difference
//! before committing it.

use std::fs;
use std::path::Path;

/// Compares with `tests/it/golden/NAME`.
pub fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let line = expected.lines().zip(actual.lines()).take_while(|(a, b)| a == b).count();
        panic!(
            "{name} differs from line {}; UPDATE_GOLDEN=1 writes it anew\nexpected: {}\nactual:   {}\n\nall of it:\n{actual}",
            line + 1,
            expected.lines().nth(line).unwrap_or("(nothing)"),
            actual.lines().nth(line).unwrap_or("(nothing)"),
        );
    }
}

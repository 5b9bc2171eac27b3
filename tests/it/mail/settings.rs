//! What a configuration means for mail.

use std::collections::BTreeMap;
use std::path::Path;

use slowburn::config;

use crate::golden;

const FOLDER: &str = "tests/it/golden";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(path);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_way_to_a_server_is_read_as_the_golden_file_says() {
    let texts = BTreeMap::from([
        ("receivers.yml".to_owned(), read("mail/receivers.yml")),
        ("password".to_owned(), "hunter2\n".to_owned()),
        ("ca.pem".to_owned(), read("sound/parts/client.pem")),
    ]);
    let loaded = config::load_texts("receivers.yml", &texts, &|_| None).unwrap();
    let mut told = loaded.warnings.render(false);
    for receiver in &loaded.config.receivers {
        told += &format!("\n{receiver:#?}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    // The authorities, byte for byte, are no pleasure to read.
    let mut lines: Vec<&str> = told.lines().collect();
    lines
        .retain(|line| !line.trim().trim_end_matches(',').bytes().all(|byte| byte.is_ascii_digit()) || line.is_empty());
    golden::check("mail/receivers.out", &(lines.join("\n") + "\n"));
}

//! The state file by itself: what comes back from it, and what is said of one that is damaged, newer or in use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use slowburn::engine::histogram::Labels;
use slowburn::engine::memory::{Change, Kind, Memory, Name, Progress, Record, RuleMemory};
use slowburn::engine::names::AlertName;
use slowburn::engine::notification::{Notification, Reason};
use slowburn::engine::outbox::{self, Pending};
use slowburn::engine::rule::{Stage, Urgency};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::store::in_memory::InMemory;
use slowburn::store::sqlite::{Opened, Sqlite};
use slowburn::store::{Attempt, Batch, Store, StoreError, Windows};

const NOW: Timestamp = Timestamp::from_unix_s(1_772_366_400);

fn open(path: &Path) -> Opened {
    Sqlite::open(path, NOW).unwrap()
}

fn progress(evaluations: u64) -> Record {
    Record::Progress(Progress { evaluations, evaluated_slot: Some(NOW), ..Progress::default() })
}

fn rule(number: usize) -> Record {
    let name = AlertName {
        journey: format!("journey-{number}"),
        layer: Some("edge".into()),
        labels: Labels::from([("region".to_owned(), "eu \"west\"/{1}".to_owned())]),
        rule: "spike".into(),
    };
    Record::Alert(RuleMemory { name, limit: "burn_rate".into(), state: Default::default() })
}

fn delivery(number: u64) -> Record {
    let notification = Notification {
        id: format!("sb-{number}"),
        at: NOW,
        receiver: 0,
        reason: Reason::Opened,
        incident: "checkout".into(),
        journey: Some("checkout".into()),
        owner: None,
        runbook: None,
        group: Labels::new(),
        stage: Stage::Critical,
        urgency: Urgency::Page,
        opened_at: NOW,
        resolved_at: None,
        alerts: Vec::new(),
        detail: Some("it's \u{1f525}; DROP TABLE records".into()),
        digest: None,
        summary: "checkout: slow".into(),
    };
    let pending = serde_json::json!({"delivery": {
        "receiver": "oncall", "incident": format!("checkout-{number}"), "untold": null, "summarised": null, "refused": null,
        "items": [{
            "notification": notification, "attempt": 3, "not_before": NOW, "since": NOW,
            "in_flight": false, "maybe_taken": true, "refusals": 0, "passed_on": false,
        }],
    }});
    serde_json::from_value(pending).unwrap()
}

fn attempt(number: i64) -> Attempt {
    Attempt {
        at: NOW + Duration::from_secs(number),
        id: format!("sb-{number}"),
        receiver: "oncall".into(),
        incident: "checkout".into(),
        reason: Reason::Escalated,
        stage: Stage::Warning,
        urgency: Urgency::Ticket,
        summary: "checkout: slow".into(),
        attempt: 2,
        outcome: "rejected".into(),
        why: Some("400".into()),
    }
}

fn windows(slo: &str, byte: u8) -> Windows {
    Windows { slo: slo.into(), body: vec![byte; 5000] }
}

fn puts(records: impl IntoIterator<Item = Record>) -> Batch {
    Batch { changes: records.into_iter().map(Change::Put).collect(), ..Batch::default() }
}

/// Both stores hand back the same.
fn check(store: &mut dyn Store) {
    store.commit(&puts([progress(1), rule(1), rule(2), delivery(1), delivery(2)])).unwrap();
    let mut later = puts([progress(2)]);
    later.changes.push(Change::Drop(Name { kind: Kind::Delivery, key: outbox::key("oncall", "checkout-1") }));
    later.changes.push(Change::Drop(Name { kind: Kind::Alert, key: "nothing".into() }));
    later.attempts = (0..5).map(attempt).collect();
    later.windows = vec![windows("edge", 1), windows("database", 2)];
    store.commit(&later).unwrap();
    store.commit(&Batch { windows: vec![windows("edge", 3)], ..Batch::default() }).unwrap();
    let saved = store.load().unwrap();
    let expected: Memory = [progress(2), rule(1), rule(2), delivery(2)].into_iter().collect();
    assert_eq!(saved.memory, expected);
    assert_eq!(saved.attempts, (0..5).rev().map(attempt).collect::<Vec<_>>());
    assert_eq!(saved.windows, [windows("database", 2), windows("edge", 3)]);

    let anew: Memory = [progress(9), rule(7)].into_iter().collect();
    let changes = vec![Change::Anew(anew.clone()), Change::Put(rule(8))];
    let forget_before = Some(NOW + Duration::from_secs(3));
    store.commit(&Batch { changes, forget_before, ..Batch::default() }).unwrap();
    let saved = store.load().unwrap();
    assert_eq!(saved.memory, anew.into_records().chain([rule(8)]).collect());
    assert_eq!(saved.attempts, [attempt(4), attempt(3)]);
}

#[test]
fn both_stores_hand_back_what_they_took() {
    check(&mut InMemory::default());
    let dir = tempfile::tempdir().unwrap();
    check(&mut open(&dir.path().join("state.db")).store);
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let first = open(&path);
    assert!(first.saved.memory.is_empty() && first.set_aside.is_none());
    let mut store = first.store;
    store.commit(&puts([progress(1), delivery(4)])).unwrap();
    for file in ["state.db", "state.db-wal", "state.db.lock"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let second = Sqlite::open(&path, NOW).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }) && second.to_string().contains("in use"), "{second}");
    drop(store);
    let again = open(&path);
    assert_eq!(again.saved.memory, [progress(1), delivery(4)].into_iter().collect());
    let Some(Record::Delivery(Pending { items, .. })) = again.saved.memory.into_records().nth(1) else { panic!() };
    assert_eq!(items[0].notification.detail.as_deref(), Some("it's \u{1f525}; DROP TABLE records"));
}

#[test]
fn what_can_only_be_read_is_read_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut store = open(&path).store;
    store.commit(&puts([progress(1), rule(4)])).unwrap();
    // As it stands after a crash: what is newest is in the log beside it.
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let saved = Sqlite::read_copy(&path, &scratch).unwrap();
    assert_eq!(saved.memory, [progress(1), rule(4)].into_iter().collect());
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn version_1_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let dump = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/state-version-1.sql"));
    rusqlite::Connection::open(&path).unwrap().execute_batch(&dump.unwrap()).unwrap();
    let opened = open(&path);
    assert_eq!(opened.set_aside, None);
    let records: Vec<Record> = opened.saved.memory.into_records().collect();
    let [Record::Progress(progress)] = records[..] else { panic!("{records:?}") };
    assert_eq!((progress.evaluations, progress.held_back.not_consecutive, progress.missed.slots), (77, 3, 2));
    assert_eq!(opened.saved.attempts[0].incident, "checkout");
    drop(opened.store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'deliveries_at'";
    let index: i64 = connection.query_row(index, [], |row| row.get(0)).unwrap();
    assert_eq!((version, index), (2, 1));
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(open(&path));
    let newer = "PRAGMA user_version = 9; UPDATE meta SET value = '9' WHERE key = 'schema'";
    rusqlite::Connection::open(&path).unwrap().execute_batch(newer).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Sqlite::open(&path, NOW).unwrap_err();
    assert!(matches!(error, StoreError::Newer { theirs: 9, ours: 2, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn people_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut store = open(&path).store;
    store.commit(&puts([rule(1), delivery(3)])).unwrap();
    // While it is in use.
    let connection = rusqlite::Connection::open(&path).unwrap();
    let row = |query: &str| connection.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(row("SELECT alert FROM alerts"), r#"journey-1/edge{region="eu \"west\"/{1}"} spike"#);
    assert_eq!(row("SELECT receiver || ' ' || reason || ' ' || attempt FROM outbox"), "oncall opened 3");
    assert_eq!(row("SELECT count(*) || '' FROM incidents"), "0");
    assert_eq!(row("SELECT count(*) || '' FROM silences"), "0");
}

/// A state file and what is in it.
fn full(path: &Path) -> (Vec<u8>, Memory) {
    let mut store = open(path).store;
    let memory: Memory = (0..120).map(rule).chain((0..60).map(delivery)).chain([progress(3)]).collect();
    let attempts = (0..40).map(attempt).collect();
    let batch = Batch { attempts, windows: vec![windows("edge", 7)], ..puts(memory.records().cloned()) };
    store.commit(&batch).unwrap();
    drop(store);
    (fs::read(path).unwrap(), memory)
}

/// Opens a file of these bytes: it must be what was written, or be set aside and named. Returns whether it was.
fn check_damaged(bytes: &[u8], memory: &Memory, what: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    fs::write(&path, bytes).unwrap();
    // What tells a file that was used from one that is new.
    fs::write(dir.path().join("state.db.lock"), "slowburn\n").unwrap();
    let opened = Sqlite::open(&path, NOW).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut store = opened.store;
    match &opened.set_aside {
        Some(aside) => {
            assert_eq!(aside.path, dir.path().join("state.db.corrupt-20260301T120000Z"), "{what}");
            // SQLite fills the last page up.
            assert!(fs::read(&aside.path).unwrap().len() >= bytes.len(), "{what}");
            assert!(opened.saved.memory.is_empty() && !aside.why.is_empty(), "{what}");
        }
        None => assert_eq!(&opened.saved.memory, memory, "{what}"),
    }
    store.commit(&puts([progress(4), rule(500)])).unwrap_or_else(|error| panic!("{what}: {error}"));
    opened.set_aside.is_some()
}

#[test]
fn a_torn_file_is_set_aside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, memory) = full(&dir.path().join("state.db"));
    assert!(!check_damaged(&bytes, &memory, "whole"));
    let pages = bytes.len() / 4096;
    assert!(pages >= 15, "{pages} pages");
    for page in 0..pages {
        assert!(check_damaged(&bytes[..page * 4096], &memory, "truncated at a page"), "page {page}");
        let at = page * 4096 + 1 + (page * 977) % 4095;
        assert!(check_damaged(&bytes[..at], &memory, "truncated in a page"), "byte {at}");
    }
    // A multiplicative walk over the file, the same in every run; and all of the header.
    let mut at = 12_345_usize;
    let mut noticed = 0;
    let random = std::iter::repeat_with(|| {
        at = (at.wrapping_mul(6_364_136_223) + 1_442_695_041) % (bytes.len() * 8);
        at
    });
    let header = (0..100).map(|byte| byte * 8 + byte % 8);
    let boundaries = (0..pages).flat_map(|page| (0..12).map(move |byte| (page * 4096 + byte) * 8 + byte % 8));
    for bit in header.chain(boundaries).chain(random.take(250)) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        noticed += usize::from(check_damaged(&flipped, &memory, &format!("bit {} of byte {}", bit % 8, bit / 8)));
    }
    // The others changed what holds nothing, or only the log.
    assert!(noticed > 250, "{noticed}");
}

#[test]
fn an_empty_file_is_a_torn_one_and_so_is_anything_else() {
    let memory = Memory::default();
    assert!(check_damaged(b"", &memory, "empty"));
    assert!(check_damaged(b"hello\n", &memory, "text"));
    assert!(check_damaged(&[0; 70_000], &memory, "zeros"));
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(check_damaged(&fs::read(&other).unwrap(), &memory, "another program's"));
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let error = Sqlite::open(&dir.path().join("nowhere/state.db"), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }) && error.to_string().contains("nowhere/state.db"), "{error}");
}

//! The store in one SQLite file, with its write-ahead log beside it: safe against a crash and a power cut, readable by
//! people with `sqlite3` while the daemon runs, and used by one daemon at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};
use serde::de::DeserializeOwned;

use crate::engine::memory::{Change, Memory, Name, Record};
use crate::engine::stable_hash;
use crate::engine::time::{Duration, Timestamp};

use super::schema::{MIGRATIONS, VERSION, VIEWS};
use super::{Attempt, Batch, LAST_ATTEMPTS, MAX_ATTEMPTS, Saved, Store, StoreError, Windows};

/// "slob": tells a state file from any other SQLite file.
const APPLICATION_ID: i64 = 0x736c_6f62;
/// SQLite's page, of which no file is without its first.
const SMALLEST_BYTES: u64 = 4096;
/// What is written into the lock once there is a state file.
const USED: &[u8] = b"slowburn\n";
/// How long a person with `sqlite3` may hold a lock up.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// Files set aside in one second get numbers up to this.
const MAX_SET_ASIDE: u32 = 100;

/// An open state file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// Held for as long as the file is in use.
    _lock: File,
}

/// A state file, opened.
#[derive(Debug)]
pub struct Opened {
    pub store: Sqlite,
    pub saved: Saved,
    /// A file that could not be read stood in the way.
    pub set_aside: Option<SetAside>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    pub why: String,
}

impl Sqlite {
    /// Opens the file, or makes it, and reads all of it. A damaged file is set aside under a name with `now` in it.
    pub fn open(path: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        let mut lock = Some(lock(path)?);
        match Self::connect(path, &mut lock) {
            Ok((store, saved)) => Ok(Opened { store, saved, set_aside: None }),
            Err(StoreError::Corrupt { why, .. }) => {
                let set_aside = Some(set_aside(path, now, why)?);
                let (store, saved) = Self::connect(path, &mut lock)?;
                Ok(Opened { store, saved, set_aside })
            }
            Err(error) => Err(error),
        }
    }

    /// What a file holds that can be read but not written, by way of a copy in `scratch`, which is removed again.
    pub fn read_copy(path: &Path, scratch: &Path) -> Result<Saved, StoreError> {
        let unusable = |why: std::io::Error| StoreError::Unusable { path: path.into(), why: why.to_string() };
        let folder = scratch.join(format!("slowburn-{}", std::process::id()));
        fs::create_dir(&folder).map_err(unusable)?;
        let copied = folder.join("state.db");
        let copy = || {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            fs::copy(path, &copied)?;
            if with_suffix(path, "-wal").exists() {
                fs::copy(with_suffix(path, "-wal"), with_suffix(&copied, "-wal"))?;
            }
            // The mode came along, and may be read-only.
            fs::set_permissions(&copied, fs::Permissions::from_mode(0o600))
        };
        let read = copy().map_err(unusable).and_then(|()| {
            let mut lock = Some(lock(&copied)?);
            Self::connect(&copied, &mut lock).map(|(_, saved)| saved)
        });
        // What is left of it is in a directory for what may be lost.
        let _ = fs::remove_dir_all(&folder);
        read
    }

    fn connect(path: &Path, lock: &mut Option<File>) -> Result<(Self, Saved), StoreError> {
        let failed = |error| classify(path, error);
        let was_used = lock.as_ref().and_then(|lock| lock.metadata().ok()).is_some_and(|lock| lock.len() > 0);
        make_private(path, was_used)?;
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_FOR.to_std()).map_err(failed)?;
        check_identity(path, &connection)?;
        // Before anything is written: what is damaged is set aside as it was found.
        let verdict: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(corrupt(path, verdict));
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        migrate(path, &mut connection)?;
        let saved = load(path, &connection)?;
        let Some(mut lock) = lock.take() else { return Err(StoreError::Locked { path: path.into() }) };
        if !was_used {
            // From here on an empty file is one that lost what was in it. Not worth failing for.
            let _ = lock.write_all(USED);
        }
        Ok((Self { path: path.into(), connection, _lock: lock }, saved))
    }
}

impl Store for Sqlite {
    fn load(&mut self) -> Result<Saved, StoreError> {
        load(&self.path, &self.connection)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        write(&mut self.connection, batch).map_err(|error| classify(&self.path, error))
    }
}

fn write(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut put = transaction.prepare(
            "INSERT INTO records VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET body = excluded.body, sum = excluded.sum",
        )?;
        let mut put = |record: &Record| {
            let Name { kind, key } = record.name();
            let body =
                serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let sum = sum(&[kind.as_str().as_bytes(), key.as_bytes(), body.as_bytes()]);
            put.execute(params![kind.as_str(), key, body, sum]).map(|_| ())
        };
        let mut drop_one = transaction.prepare("DELETE FROM records WHERE kind = ?1 AND key = ?2")?;
        for change in &batch.changes {
            match change {
                Change::Put(record) => put(record)?,
                Change::Drop(name) => drop(drop_one.execute(params![name.kind.as_str(), name.key])?),
                Change::Anew(memory) => {
                    transaction.execute("DELETE FROM records", [])?;
                    memory.records().try_for_each(&mut put)?;
                }
            }
        }
        let mut log = transaction.prepare(
            "INSERT INTO deliveries (at, id, receiver, incident, reason, stage, urgency, summary, attempt, outcome, why)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for it in &batch.attempts {
            let (reason, stage, urgency) = (it.reason.as_str(), it.stage.as_str(), it.urgency.as_str());
            let at = it.at.to_string();
            log.execute(params![
                at,
                it.id,
                it.receiver,
                it.incident,
                reason,
                stage,
                urgency,
                it.summary,
                it.attempt,
                it.outcome,
                it.why
            ])?;
        }
        for slo in &batch.forget_windows {
            transaction.execute("DELETE FROM windows WHERE slo = ?1", [slo])?;
        }
        let mut keep = transaction.prepare("INSERT OR REPLACE INTO windows VALUES (?1, ?2, ?3)")?;
        for Windows { slo, body } in &batch.windows {
            keep.execute(params![slo, body, sum(&[slo.as_bytes(), body])])?;
        }
        if let Some(before) = batch.forget_before {
            transaction.execute("DELETE FROM deliveries WHERE at < ?1", [before.to_string()])?;
            transaction.execute(
                "DELETE FROM deliveries WHERE number <= (SELECT max(number) FROM deliveries) - ?1",
                [MAX_ATTEMPTS as i64],
            )?;
        }
    }
    transaction.commit()
}

fn load(path: &Path, connection: &Connection) -> Result<Saved, StoreError> {
    let failed = |error| classify(path, error);
    let mut saved = Saved { memory: records(path, connection)?, ..Saved::default() };
    let mut windows = connection.prepare("SELECT slo, body, sum FROM windows ORDER BY slo").map_err(failed)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?));
    for row in windows.query_map([], row).map_err(failed)? {
        let (slo, body, written) = row.map_err(failed)?;
        if sum(&[slo.as_bytes(), &body]) == written {
            saved.windows.push(Windows { slo, body });
        } else {
            saved.lost_windows.push(slo);
        }
    }
    let newest = format!(
        "SELECT at, id, receiver, incident, reason, stage, urgency, summary, attempt, outcome, why
         FROM deliveries ORDER BY number DESC LIMIT {LAST_ATTEMPTS}"
    );
    let mut attempts = connection.prepare(&newest).map_err(failed)?;
    for attempt in attempts.query_map([], attempt).map_err(failed)? {
        saved.attempts.push(attempt.map_err(failed)?);
    }
    Ok(saved)
}

fn records(path: &Path, connection: &Connection) -> Result<Memory, StoreError> {
    let failed = |error| classify(path, error);
    let mut records = connection.prepare("SELECT kind, key, body, sum FROM records").map_err(failed)?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let mut memory = Memory::default();
    for row in records.query_map([], row).map_err(failed)? {
        let (kind, key, body, written): (String, String, String, i64) = row.map_err(failed)?;
        if sum(&[kind.as_bytes(), key.as_bytes(), body.as_bytes()]) != written {
            return Err(corrupt(path, format!("the record of {kind} '{key}' is not what was written")));
        }
        memory.put(serde_json::from_str(&body).map_err(|error| corrupt(path, format!("{kind} '{key}': {error}")))?);
    }
    Ok(memory)
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        at: word(row, 0)?,
        id: row.get(1)?,
        receiver: row.get(2)?,
        incident: row.get(3)?,
        reason: word(row, 4)?,
        stage: word(row, 5)?,
        urgency: word(row, 6)?,
        summary: row.get(7)?,
        attempt: row.get(8)?,
        outcome: row.get(9)?,
        why: row.get(10)?,
    })
}

/// A value that is written as one word.
fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let word: String = row.get(column)?;
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_value(serde_json::Value::String(word)).map_err(wrong)
}

/// Takes the file for this program alone. The lock is a file of its own: SQLite has locks on the other.
fn lock(path: &Path) -> Result<File, StoreError> {
    let unusable = |why: String| StoreError::Unusable { path: path.into(), why };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(with_suffix(path, ".lock")).map_err(|error| unusable(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(unusable(error.to_string())),
    }
}

/// Makes the file if there is none, for its owner alone. SQLite gives its other files the same mode.
fn make_private(path: &Path, was_used: bool) -> Result<(), StoreError> {
    let unusable = |error: std::io::Error| StoreError::Unusable { path: path.into(), why: error.to_string() };
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let known = fs::metadata(path).map_err(unusable)?;
            // SQLite takes less than its first page for an empty file.
            if known.len() < SMALLEST_BYTES && (known.len() > 0 || was_used) {
                return Err(corrupt(path, format!("it has only {} bytes", known.len())));
            }
            let mut header = [0; 20];
            let read = File::open(path).and_then(|mut file| file.read(&mut header)).map_err(unusable)?;
            // With another version of its format SQLite would only read it.
            if read == header.len() && header[18..].iter().any(|version| !matches!(version, 1 | 2)) {
                return Err(corrupt(path, "its header is damaged".into()));
            }
            if known.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(unusable)?;
            }
            Ok(())
        }
        Err(error) => Err(unusable(error)),
    }
}

/// Whether the file is one of ours, and of a version that this program knows. One byte that flipped must not make it
/// look newer, so the version stands in it twice.
fn check_identity(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let failed = |error| classify(path, error);
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(failed)?;
    let (application, version) = (number("application_id").map_err(failed)?, number("user_version").map_err(failed)?);
    if (tables, application, version) == (0, 0, 0) {
        return Ok(());
    }
    if application != APPLICATION_ID {
        return Err(corrupt(path, "it is no state file of slowburn".into()));
    }
    let written = "SELECT value FROM meta WHERE key = 'schema'";
    let written: String = connection.query_row(written, [], |row| row.get(0)).map_err(failed)?;
    if written != version.to_string() {
        return Err(corrupt(path, format!("its schema is version {version} or {written}")));
    }
    if version > VERSION {
        return Err(StoreError::Newer { path: path.into(), theirs: version, ours: VERSION });
    }
    Ok(())
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let mut run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        for migration in MIGRATIONS.iter().skip(version.max(0) as usize) {
            transaction.execute_batch(migration)?;
        }
        transaction.execute_batch(VIEWS)?;
        transaction.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?1)", [VERSION.to_string()])?;
        transaction.execute("INSERT OR REPLACE INTO meta VALUES ('written_by', ?1)", [env!("CARGO_PKG_VERSION")])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    };
    run().map_err(|error| classify(path, error))
}

/// Moves a file and what belongs to it out of the way.
fn set_aside(path: &Path, now: Timestamp, why: String) -> Result<SetAside, StoreError> {
    let stamp: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let names = (0..MAX_SET_ASIDE).map(|number| match number {
        0 => with_suffix(path, &format!(".corrupt-{stamp}")),
        _ => with_suffix(path, &format!(".corrupt-{stamp}-{number}")),
    });
    let unusable = |why: String| StoreError::Unusable { path: path.into(), why };
    let Some(aside) = names.into_iter().find(|name| !name.exists()) else {
        return Err(unusable("it is damaged, and so were too many before it".into()));
    };
    fs::rename(path, &aside).map_err(|error| unusable(format!("it is damaged and cannot be set aside: {error}")))?;
    for suffix in ["-wal", "-shm"] {
        // Without the file they belong to they say nothing, and mostly they are not there.
        let _ = fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix));
    }
    Ok(SetAside { path: aside, why })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt { path: path.into(), why }
}

/// What went wrong with the world is worth another try; everything else is wrong with the file.
fn classify(path: &Path, error: rusqlite::Error) -> StoreError {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationInterrupted,
        OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    let short_read = error.sqlite_error().is_some_and(|it| it.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ);
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(
            CannotOpen
            | DatabaseBusy
            | DatabaseLocked
            | DiskFull
            | FileLockingProtocolFailed
            | OperationInterrupted
            | OutOfMemory
            | PermissionDenied
            | ReadOnly
            | SystemIoFailure,
        ) if !short_read => StoreError::Unusable { path: path.into(), why },
        _ => StoreError::Corrupt { path: path.into(), why },
    }
}

/// 63 bits that change with any byte of the parts.
fn sum(parts: &[&[u8]]) -> i64 {
    let lengths = parts.iter().map(|part| part.len().to_string()).collect::<Vec<_>>().join(" ");
    let mut hash = stable_hash(&[&lengths]) as u64;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash >> 1) as i64
}

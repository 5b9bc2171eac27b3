//! The schema of the state file, version by version. A file is brought up to date when it is opened; a newer one is
//! refused.

/// SQL from each version to the next: the first makes version 1 of an empty file. What was released never changes.
pub const MIGRATIONS: [&str; 2] = [
    // `body` is JSON; `sum` tells a damaged row from a sound one.
    "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
     CREATE TABLE records (
       kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (kind, key));
     CREATE TABLE deliveries (
       number INTEGER PRIMARY KEY, at TEXT NOT NULL, id TEXT NOT NULL, receiver TEXT NOT NULL, incident TEXT NOT NULL,
       reason TEXT NOT NULL, stage TEXT NOT NULL, urgency TEXT NOT NULL, summary TEXT NOT NULL,
       attempt INTEGER NOT NULL, outcome TEXT NOT NULL, why TEXT);
     CREATE TABLE windows (slo TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL);",
    // The log is forgotten by time, which is read often enough to want an index.
    "CREATE INDEX deliveries_at ON deliveries (at);",
];

/// The version that this program writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// What people look at with sqlite3; made anew at every start.
pub const VIEWS: &str = "
DROP VIEW IF EXISTS alerts;
DROP VIEW IF EXISTS incidents;
DROP VIEW IF EXISTS outbox;
DROP VIEW IF EXISTS silences;
CREATE VIEW alerts AS SELECT key AS alert, body ->> '$.alert.state.record.stage' AS stage,
  body ->> '$.alert.state.record.urgency' AS urgency, body ->> '$.alert.state.record.breached_at' AS breached_at,
  body ->> '$.alert.state.record.fired_at' AS fired_at, body ->> '$.alert.state.record.ended_at' AS ended_at,
  body ->> '$.alert.state.watched.machine.warning.streak' AS pending
  FROM records WHERE kind = 'alert';
CREATE VIEW incidents AS SELECT key AS incident, body ->> '$.incident.record.stage' AS stage,
  body ->> '$.incident.record.urgency' AS urgency, body ->> '$.incident.record.opened_at' AS opened_at,
  body ->> '$.incident.record.alerts' AS alerts FROM records WHERE kind = 'incident';
CREATE VIEW outbox AS SELECT item.value ->> '$.notification.id' AS id, body ->> '$.delivery.receiver' AS receiver,
  body ->> '$.delivery.incident' AS incident, item.value ->> '$.notification.reason' AS reason,
  item.value ->> '$.notification.summary' AS summary, item.value ->> '$.attempt' AS attempt,
  item.value ->> '$.not_before' AS not_before
  FROM records, json_each(body, '$.delivery.items') AS item WHERE kind = 'delivery';
CREATE VIEW silences AS SELECT key AS id, body ->> '$.silence.starts_at' AS starts_at,
  body ->> '$.silence.ends_at' AS ends_at, body ->> '$.silence.author' AS author,
  body ->> '$.silence.reason' AS reason FROM records WHERE kind = 'silence';
";

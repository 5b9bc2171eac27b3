-- A state file of schema version 1, as sqlite3 dumps it. What a released version wrote is never changed here.
PRAGMA application_id = 1936486242;
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
INSERT INTO meta VALUES ('schema', '1');
CREATE TABLE records (
  kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (kind, key));
INSERT INTO records VALUES ('progress', '', '{"progress":{"evaluated_slot":"2026-03-01T12:00:00Z","due_slot":"2026-03-01T12:00:00Z","failed_in_a_row":0,"last_answer":"2026-03-01T12:00:00Z","held_back":{"not_consecutive":3,"same_stage":0,"joined":0,"silenced":0,"maintenance":0,"inactive_hours":0,"low_traffic":0},"missed":{"slots":2,"partial":0,"clock_set_back":0},"evaluations":77}}', 5002355698787308491);
CREATE TABLE deliveries (
  number INTEGER PRIMARY KEY, at TEXT NOT NULL, id TEXT NOT NULL, receiver TEXT NOT NULL, incident TEXT NOT NULL,
  reason TEXT NOT NULL, stage TEXT NOT NULL, urgency TEXT NOT NULL, summary TEXT NOT NULL,
  attempt INTEGER NOT NULL, outcome TEXT NOT NULL, why TEXT);
INSERT INTO deliveries VALUES (1, '2026-03-01T11:59:00Z', 'sb-1', 'oncall', 'checkout', 'opened', 'critical', 'page',
  'checkout/edge: error budget burns 20.0x too fast over 1h [critical page]', 0, 'delivered', NULL);
CREATE TABLE windows (slo TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL);
PRAGMA user_version = 1;

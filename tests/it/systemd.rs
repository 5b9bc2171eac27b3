//! The shipped unit under a real systemd, which runs in a box of its own: ready, watched, reloaded, stopped in time.
//!
//! The box is a script that lies beside a checkout where the project's machines run; elsewhere the test says so and
//! passes.

use std::path::Path;
use std::process::Command;

use crate::daemon::{RULES, config};
use crate::exporter::Exporter;

/// What root does in the box. Each line that fails ends it.
const SCRIPT: &str = "
set -eu
trap 'systemctl status slowburn --no-pager -l >&2 || true; journalctl -u slowburn --no-pager >&2 || true' EXIT
show() { systemctl show slowburn --property \"$1\" --value; }
systemctl start slowburn
test \"$(show ActiveState)\" = active
test \"$(show StatusText)\" != ''
test \"$(show WatchdogUSec)\" = 1min
test -n \"$(show WatchdogTimestamp)\"
systemctl reload slowburn
for _ in $(seq 100); do
    if journalctl -u slowburn --no-pager | grep -q 'configuration reloaded'; then break; fi
    sleep 0.1
done
journalctl -u slowburn --no-pager | grep 'configuration reloaded' >/dev/null
test \"$(show ActiveState)\" = active
# Journald took the lines' priorities off them: there is no error among them.
test -z \"$(journalctl -u slowburn --no-pager --quiet -o cat | grep '^<')\"
test -n \"$(journalctl -u slowburn --no-pager --quiet -p info -o cat | grep '^level=info')\"
test -z \"$(journalctl -u slowburn --no-pager --quiet -p err -o cat)\"
before=$(date +%s)
systemctl stop slowburn
test $(($(date +%s) - before)) -le 10
test \"$(show Result)\" = success
trap - EXIT
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs systemd"]
async fn the_unit_runs_under_systemd() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = root.join("../shared/tools/systemd-box");
    if !tool.exists() {
        eprintln!("skipped: there is no {}", tool.display());
        return;
    }
    let target = Exporter::start(&["edge"]).await.url();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("{}:/etc/slowburn/{name}", dir.path().join(name).display())
    };
    let hook = ("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned());
    let files = [
        format!("{}:/usr/bin/slowburn", env!("CARGO_BIN_EXE_slowburn")),
        format!("{}:/etc/systemd/system/slowburn.service", root.join("systemd/slowburn.service").display()),
        file("slowburn.yml", &config(&target, &[hook])),
        file("rules.yml", RULES),
    ];
    let mut boxed = Command::new(tool);
    for file in &files {
        boxed.args(["--file", file]);
    }
    boxed.args(["--", "bash", "-c", SCRIPT]);
    let output = tokio::task::spawn_blocking(move || boxed.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{}\n{said}", output.status, String::from_utf8_lossy(&output.stdout));
}

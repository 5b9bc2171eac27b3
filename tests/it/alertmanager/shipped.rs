//! What `alertmanager/` ships, held against Alertmanager's own tools.

use std::path::PathBuf;
use std::process::Command;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "alertmanager", name].iter().collect()
}

/// What amtool says; it must succeed.
fn amtool(args: &[&str]) -> String {
    let output = Command::new("amtool").args(args).output().expect("amtool is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said.trim().to_owned()
}

#[test]
#[ignore = "needs prometheus-alertmanager"]
fn the_configuration_is_sound_and_routes_as_it_says() {
    let config = file("alertmanager.yml").display().to_string();
    let said = amtool(&["check-config", &config]);
    assert!(said.contains("3 inhibit rules") && said.contains("1 templates"), "{said}");
    let config = format!("--config.file={config}");
    for (labels, expected) in [
        ("alertname=SlowburnLatency urgency=page stage=critical", "oncall"),
        ("alertname=SlowburnLatency urgency=page stage=warning", "team"),
        ("alertname=SlowburnLatency urgency=ticket stage=critical", "team"),
        ("alertname=SlowburnBlind urgency=page stage=critical", "oncall"),
        // A list of critical pages wakes nobody.
        ("alertname=SlowburnDigest urgency=page stage=critical", "digest"),
        ("alertname=SlowburnTest urgency=ticket stage=warning", "team"),
    ] {
        let mut args = vec!["config", "routes", "test", &config];
        args.extend(labels.split(' '));
        assert_eq!(amtool(&args), expected, "{labels}");
    }
}

#[test]
#[ignore = "needs prometheus-alertmanager"]
fn the_slack_template_renders() {
    let glob = format!("--template.glob={}", file("slack.tmpl").display());
    for (name, expected) in [("title", ""), ("text", ""), ("color", "warning")] {
        let text = format!("--template.text={{{{ template \"slowburn.slack.{name}\" . }}}}");
        let said = amtool(&["template", "render", &glob, &text]);
        assert!(said.starts_with(expected) && !said.contains("<no value>"), "{name}: {said}");
    }
}

//! The rules and packs of a configuration as they are written, to be written once more with other settings.
//!
//! What is not changed stays as the user wrote it, `${NAME}` included; comments and the order of files do not. Every
//! rule and pack comes along, because a rule file stands for itself: a name is defined once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::decode::Findings;
use super::env::{self, Env};
use super::files::{Disk, Files as _, absolute, takes_in};
use super::quote::quote;
use super::yaml::{self, Key, Kind, Node};

/// Larger files are refused, as they are when the configuration is loaded.
const MAX_FILE_BYTES: usize = 4 << 20;
/// Longer rules are broken into lines of a key each.
const WIDTH: usize = 120;
const COMMENT_WIDTH: usize = 100;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct WrittenRules {
    /// Files that hold rules or packs, and whether they hold anything else.
    files: Vec<(PathBuf, bool)>,
    /// Folders and the patterns of files in them that are read.
    patterns: Vec<(PathBuf, String)>,
    /// By name, in the order of the files.
    rules: Vec<(String, Vec<(Key, Node)>)>,
    packs: Vec<(Key, Node)>,
}

impl WrittenRules {
    /// Reads the files of a configuration that was loaded. The error says which of them cannot be read (any more).
    pub fn read(files: &[PathBuf], env: Env<'_>) -> Result<Self, String> {
        let text = |path: &PathBuf| match Disk.read(path, MAX_FILE_BYTES) {
            Ok(text) => Ok((path.clone(), text)),
            Err(error) => Err(format!("cannot read '{}': {error}", path.display())),
        };
        let texts: Vec<(PathBuf, String)> = files.iter().map(text).collect::<Result<_, _>>()?;
        Ok(Self::of(texts.iter().map(|(path, text)| (path.as_path(), text.as_str())), env))
    }

    /// The rules of sound files.
    pub fn of<'a>(texts: impl IntoIterator<Item = (&'a Path, &'a str)>, env: Env<'_>) -> Self {
        let mut written = Self { files: Vec::new(), patterns: Vec::new(), rules: Vec::new(), packs: Vec::new() };
        for (path, text) in texts {
            let tree = yaml::parse(text, 0, &mut Vec::new());
            let Some(Node { kind: Kind::Map(entries), .. }) = tree else { continue };
            let (own, others): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|(key, _)| matches!(key.name.as_str(), "rules" | "packs"));
            for (_, node) in others.iter().filter(|(key, _)| key.name == "rule_files") {
                // An empty path is the working directory, which has a name.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                written.patterns.extend(texts_of(node, env).map(|pattern| (folder.to_owned(), pattern)));
            }
            if !own.is_empty() {
                written.files.push((path.to_owned(), !others.is_empty()));
            }
            for (_, node) in own {
                match node.kind {
                    Kind::List(rules) => written.rules.extend(rules.into_iter().filter_map(|rule| named(rule, env))),
                    Kind::Map(packs) => written.packs.extend(packs),
                    Kind::Scalar(_) | Kind::Broken(_) => {}
                }
            }
        }
        written
    }

    /// Whether the rule says something about `key` itself.
    pub fn says(&self, rule: &str, key: &str) -> bool {
        let known = self.rules.iter().find(|(name, _)| name == rule);
        known.is_some_and(|(_, entries)| entries.iter().any(|(known, _)| known.name == key))
    }

    /// What the user does to have a file that was written stand in for those the rules come from.
    pub fn adoption(&self, file: &str) -> String {
        let is_read = self.patterns.iter().any(|(folder, pattern)| takes_in(folder, pattern, Path::new(file)));
        let is_itself = |path: &Path| is_read && absolute(path) == absolute(Path::new(file));
        let paths = |mixed: bool| -> Vec<String> {
            let files = self.files.iter().filter(|(path, others)| *others == mixed && !is_itself(path));
            files.map(|(path, _)| path.display().to_string()).collect()
        };
        let (whole, mixed) = (paths(false).join(" and "), paths(true).join(" and "));
        if is_read {
            let before = "before the next reload, as 'rule_files' takes in the new file already";
            return match (whole.as_str(), mixed.as_str()) {
                ("", "") => "reload the configuration, which reads it already".to_owned(),
                (whole, "") => format!("move {whole} away {before}"),
                ("", mixed) => format!("take 'rules' and 'packs' out of {mixed} {before}"),
                (whole, mixed) => format!("move {whole} away and take 'rules' and 'packs' out of {mixed} {before}"),
            };
        }
        match (whole.as_str(), mixed.as_str()) {
            (whole, "") => format!("name {file} in 'rule_files' instead of {whole}"),
            ("", mixed) => format!("name {file} in 'rule_files', and take 'rules' and 'packs' out of {mixed}"),
            (whole, mixed) => {
                format!("name {file} in 'rule_files' instead of {whole}, and take 'rules' and 'packs' out of {mixed}")
            }
        }
    }

    /// A rule file with `settings` (by rule, then key) in place of what was written, under the lines of `comment`.
    pub fn with(&self, settings: &BTreeMap<String, Vec<(&str, String)>>, comment: &[String]) -> String {
        let mut out = String::new();
        for line in comment {
            comment_line(&mut out, line);
        }
        out.push_str("rules:\n");
        for (name, entries) in &self.rules {
            let settings = settings.get(name).map_or(&[][..], Vec::as_slice);
            let setting = |key: &str| settings.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
            let mut parts: Vec<String> = entries
                .iter()
                .map(|(key, node)| {
                    let value = setting(&key.name).unwrap_or_else(|| flow(node));
                    format!("{}: {value}", scalar(&key.name))
                })
                .collect();
            let new = settings.iter().filter(|(key, _)| !entries.iter().any(|(known, _)| known.name == *key));
            parts.extend(new.map(|(key, value)| format!("{key}: {value}")));
            let line = format!("  - {{{}}}\n", parts.join(", "));
            let broken = || format!("  - {}\n", parts.join("\n    "));
            out.push_str(&if line.chars().count() <= WIDTH { line } else { broken() });
        }
        if !self.packs.is_empty() {
            out.push_str("\npacks:\n");
            for (key, node) in &self.packs {
                let _ = writeln!(out, "  {}: {}", scalar(&key.name), flow(node));
            }
        }
        out
    }
}

/// A line of comment, broken between words where it is long; what follows stands under its first word.
fn comment_line(out: &mut String, text: &str) {
    // A line break in a name must not end the comment.
    let text = text.replace(char::is_control, " ");
    let words = text.trim_start_matches([' ', '-']);
    let indent = " ".repeat(text.len() - words.len());
    let mut line = format!("# {}", &text[..text.len() - words.len()]);
    for (index, word) in words.split(' ').enumerate() {
        if index > 0 && line.chars().count() + 1 + word.chars().count() > COMMENT_WIDTH {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", line.trim_end());
            line = format!("# {indent}");
        } else if index > 0 {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

fn named(rule: Node, env: Env<'_>) -> Option<(String, Vec<(Key, Node)>)> {
    let Kind::Map(entries) = rule.kind else { return None };
    let (_, name) = entries.iter().find(|(key, _)| key.name == "name")?;
    let mut name = name.clone();
    env::substitute(&mut name, env, &mut Findings::default());
    match name.kind {
        Kind::Scalar(name) => Some((name.text, entries)),
        _ => None,
    }
}

/// The texts of a list, or a text alone.
fn texts_of(node: &Node, env: Env<'_>) -> impl Iterator<Item = String> {
    let mut node = node.clone();
    env::substitute(&mut node, env, &mut Findings::default());
    let nodes = match node.kind {
        Kind::List(nodes) => nodes,
        _ => vec![node],
    };
    nodes.into_iter().filter_map(|node| match node.kind {
        Kind::Scalar(text) => Some(text.text),
        _ => None,
    })
}

/// A value in YAML's flow style.
fn flow(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(value) if value.is_null() => "null".to_owned(),
        Kind::Scalar(value) => scalar(&value.text),
        Kind::Broken(written) => scalar(written),
        Kind::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Kind::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| format!("{}: {}", scalar(&key.name), flow(node));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Plain where nothing can be misread, else in double quotes, whose escapes are those of PromQL.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '%' | '-' | '/');
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_plain)
        && !matches!(text, "null" | "Null" | "NULL");
    if plain { text.to_owned() } else { quote(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "
rule_files: [more.yml]
rules:
  - name: 'spike'   # fast
    burn_rate: 14.4
    long: 10m
    urgency: page
    min_events: ${LEAST}
";
    const MORE: &str = "
defaults: &page {urgency: page, stages: {warning: 50%}}
rules:
  - {<<: *page, name: \"a, b: c\", burn_rate: 6, long: 6h, cron: '*/5 * * * *'}
packs: {all: [spike, \"a, b: c\"]}
";

    #[test]
    fn rules_are_written_with_other_settings_and_else_as_they_were() {
        let texts = [(Path::new("slowburn.yml"), MAIN), (Path::new("more.yml"), MORE)];
        let written = WrittenRules::of(texts, &|_| Some("7".into()));
        let mut long = String::new();
        comment_line(&mut long, &format!("- {}", "word ".repeat(25)));
        assert_eq!(long, format!("# - {}\n#   {}\n", "word ".repeat(19).trim(), "word ".repeat(6).trim()));
        assert!(written.says("spike", "long") && !written.says("spike", "short") && !written.says("none", "long"));
        let tuned = vec![("burn_rate", "10".to_owned()), ("short", "1m".to_owned())];
        let text = written.with(&BTreeMap::from([("spike".to_owned(), tuned)]), &["tuned".into(), "a\nb".into()]);
        let expected = r#"# tuned
# a b
rules:
  - {name: spike, burn_rate: 10, long: 10m, urgency: page, min_events: "${LEAST}", short: 1m}
  - {name: "a, b: c", burn_rate: 6, long: 6h, cron: "*/5 * * * *", urgency: page, stages: {warning: 50%}}

packs:
  all: [spike, "a, b: c"]
"#;
        assert_eq!(text, expected);
        let adoption = "name tuned.yml in 'rule_files', and take 'rules' and 'packs' out of slowburn.yml and more.yml";
        assert_eq!(written.adoption("tuned.yml"), adoption);
        let again = WrittenRules::of([(Path::new("tuned.yml"), text.as_str())], &|_| Some("7".into()));
        assert_eq!(again.with(&BTreeMap::new(), &["tuned".into(), "a b".into()]), text, "it reads back");
        assert_eq!(again.adoption("new.yml"), "name new.yml in 'rule_files' instead of tuned.yml");
    }

    #[test]
    fn a_file_that_is_read_already_is_said_to_be() {
        let rules = "rules: [{name: a, burn_rate: 6, long: 6h, urgency: page}]";
        let main = "rule_files: ['r/*.yml', more.yml]\n";
        let check = |main: &str, file: &str, expected: &str| {
            let texts = [("conf/s.yml", main), ("conf/r/old.yml", rules)].map(|(path, text)| (Path::new(path), text));
            assert_eq!(WrittenRules::of(texts, &|_| None).adoption(file), expected);
        };
        let before = "before the next reload, as 'rule_files' takes in the new file already";
        check(main, "conf/tuned.yml", "name conf/tuned.yml in 'rule_files' instead of conf/r/old.yml");
        check(main, "conf/r/new.yml", &format!("move conf/r/old.yml away {before}"));
        check(main, "./conf/more.yml", &format!("move conf/r/old.yml away {before}"));
        check(main, "conf/r/old.yml", "reload the configuration, which reads it already");
        check(main, "./conf/r/old.yml", "reload the configuration, which reads it already");
        let mixed = format!("{main}{rules}");
        let both = "move conf/r/old.yml away and take 'rules' and 'packs' out of conf/s.yml";
        check(&mixed, "conf/r/new.yml", &format!("{both} {before}"));
    }

    #[test]
    fn long_rules_take_a_line_a_key() {
        let name = "n".repeat(100);
        let rule = format!("rules: [{{name: {name}, burn_rate: 6, long: 6h, urgency: page}}]");
        let text = WrittenRules::of([(Path::new("r.yml"), rule.as_str())], &|_| None).with(&BTreeMap::new(), &[]);
        let expected = format!("rules:\n  - name: {name}\n    burn_rate: 6\n    long: 6h\n    urgency: page\n");
        assert_eq!(text, expected);
    }
}

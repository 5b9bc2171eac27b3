//! YAML text as a tree in which every value knows where it stands. The only module that knows the YAML crate.
//!
//! Nothing is typed here: a scalar stays the text the user wrote, and what it means depends on the key it belongs to
//! (so `version: 1.10` and `country: no` keep their letters). Duplicate keys, tags, keys that are not plain text and
//! further documents are reported; anchors, aliases and merge keys (`<<`) work, within limits that an alias bomb meets
//! long before memory does.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::diagnostic::{Diagnostic, Span};

/// The deepest nesting that is read, aliases included.
const MAX_DEPTH: usize = 64;
/// The most values in a file, counted after aliases are replaced by what they stand for.
const MAX_NODES: usize = 200_000;
/// The most text in a file, in bytes, counted in the same way.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// The plain values in the map at `path` of somebody else's file; none where there is no such map, `None` if it cannot
/// be read.
pub fn texts_at(text: &str, path: &[&str]) -> Option<Vec<(String, String)>> {
    let mut node = parse(text, 0, &mut Vec::new())?;
    let entries = |node| if let Kind::Map(entries) = node { entries } else { Vec::new() };
    for name in path {
        let found = entries(node.kind).into_iter().find(|(key, _)| key.name == *name);
        let Some((_, child)) = found else { return Some(Vec::new()) };
        node = child;
    }
    let text = |(key, value): (Key, Node)| match value.kind {
        Kind::Scalar(scalar) => Some((key.name, scalar.text)),
        _ => None,
    };
    Some(entries(node.kind).into_iter().filter_map(text).collect())
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Span,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// What was written cannot be used, and that has been reported.
    Broken(String),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub text: String,
    /// Not quoted and not a block: `null`, `~` and nothing at all mean "no value" only in this form.
    pub plain: bool,
    /// What stood in the file, if some of `text` came from the environment: that must not be shown.
    pub written: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub name: String,
    pub span: Span,
}

impl Scalar {
    /// The text as it may be shown.
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// Whether this is YAML's null: no value was written.
    pub fn is_null(&self) -> bool {
        self.plain && self.written.is_none() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// Reads the one document of a file. `None` if the text is not YAML or holds nothing; what is wrong is added to
/// `found`. Of mistakes in YAML's own syntax only the first is known: what follows it cannot be read.
pub(super) fn parse(text: &str, file: u16, found: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut composer = Composer {
        spans: Spans { text, file, char_index: 0, byte_index: 0 },
        found,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
        nodes: 0,
        text_bytes: 0,
    };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, at) = match event {
            Ok((event, span)) => (event, composer.spans.between(span.start, span.end)),
            Err(error) => {
                let at = composer.spans.between(*error.marker(), *error.marker());
                composer.found.push(syntax_error(error.info(), at, text));
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                let message = "a second YAML document begins here; a file holds one";
                composer.found.push(Diagnostic::error(at, message).help("remove '---' or split the file"));
                break;
            }
        }
        composer.take(event, at)?;
    }
    composer.root
}

/// Builds the tree from the parser's events, without recursion.
struct Composer<'a> {
    spans: Spans<'a>,
    found: &'a mut Vec<Diagnostic>,
    /// Lists and maps that have begun and not ended, the outermost first.
    open: Vec<Open>,
    /// Finished anchored values by the parser's number for the anchor.
    anchors: BTreeMap<usize, Anchored>,
    root: Option<Node>,
    nodes: usize,
    text_bytes: usize,
}

struct Open {
    anchor: usize,
    node: Node,
    /// The key whose value comes next.
    key: Option<Key>,
    size: Size,
}

/// What a value weighs once aliases are replaced.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text_bytes: usize,
    depth: usize,
}

struct Anchored {
    node: Node,
    size: Size,
}

impl Composer<'_> {
    /// `None` once there is no point in going on.
    fn take(&mut self, event: Event<'_>, at: Span) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, written: None };
                let size = Size { nodes: 1, text_bytes: scalar.text.len(), depth: 1 };
                self.count(size, at)?;
                self.place(Node { span: self.spans.trimmed(at), kind: Kind::Scalar(scalar) }, anchor, size)
            }
            Event::SequenceStart(anchor, tag) => self.begin(Kind::List(Vec::new()), anchor, tag.is_some(), at),
            Event::MappingStart(anchor, tag) => self.begin(Kind::Map(Vec::new()), anchor, tag.is_some(), at),
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return self.give_up(Diagnostic::error(at, "this alias stands inside the value it names"));
                };
                let (node, size) = (anchored.node.clone(), anchored.size);
                self.count(size, at)?;
                self.place(node, 0, size)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Some(())
            }
        }
    }

    /// For mistakes after which the rest cannot be read.
    fn give_up(&mut self, diagnostic: Diagnostic) -> Option<()> {
        self.found.push(diagnostic);
        None
    }

    fn refuse_tag(&mut self, tagged: bool, at: Span) {
        if tagged {
            self.found.push(Diagnostic::error(at, "YAML tags ('!name') mean nothing here").help("remove the tag"));
        }
    }

    /// Before a value is copied or kept: is there room for it?
    fn count(&mut self, size: Size, at: Span) -> Option<()> {
        self.nodes = self.nodes.saturating_add(size.nodes);
        self.text_bytes = self.text_bytes.saturating_add(size.text_bytes);
        if self.open.len() + size.depth > MAX_DEPTH {
            return self.give_up(Diagnostic::error(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.nodes > MAX_NODES || self.text_bytes > MAX_TEXT_BYTES {
            let message = format!("more than {MAX_NODES} values (or 8 MiB of text) in one file, aliases counted");
            return self.give_up(Diagnostic::error(at, message).help("split the file"));
        }
        Some(())
    }

    fn begin(&mut self, kind: Kind, anchor: usize, tagged: bool, at: Span) -> Option<()> {
        self.refuse_tag(tagged, at);
        let size = Size { nodes: 1, text_bytes: 0, depth: 1 };
        self.count(size, at)?;
        self.open.push(Open { anchor, node: Node { span: at, kind }, key: None, size });
        Some(())
    }

    fn end(&mut self, at: Span) -> Option<()> {
        let mut done = self.open.pop()?;
        done.node.span = self.spans.trimmed(done.node.span.to(at));
        if let Kind::Map(entries) = &mut done.node.kind {
            merge(entries, self.found);
            report_duplicates(entries, self.found);
        }
        self.place(done.node, done.anchor, done.size)
    }

    /// Puts a finished value where it belongs: into the list or map that is open, or at the root.
    fn place(&mut self, mut node: Node, anchor: usize, size: Size) -> Option<()> {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        open.size.nodes += size.nodes;
        open.size.text_bytes += size.text_bytes;
        open.size.depth = open.size.depth.max(size.depth + 1);
        match (&mut open.node.kind, open.key.take()) {
            (Kind::Map(entries), Some(key)) => {
                // Nothing was written: its key is the place to point at.
                if node.span.start == node.span.end {
                    node.span = key.span;
                }
                entries.push((key, node));
            }
            (Kind::Map(_), None) => open.key = Some(key_of(node, self.found)),
            (Kind::List(items), _) => items.push(node),
            (Kind::Scalar(_) | Kind::Broken(_), _) => {}
        }
        Some(())
    }
}

/// A key that is not plain text is reported and stands in the tree under a name that no table knows.
fn key_of(node: Node, found: &mut Vec<Diagnostic>) -> Key {
    if let Kind::Scalar(scalar) = node.kind {
        return Key { name: scalar.text, span: node.span };
    }
    let message = "a key must be plain text, not a list or a map";
    found.push(Diagnostic::error(node.span, message).help("quote a value that begins with '{' or '['"));
    Key { name: String::new(), span: node.span }
}

/// Replaces `<<: *defaults` (or a list of such maps) by the entries it names; what the map itself says wins.
fn merge(entries: &mut Vec<(Key, Node)>, found: &mut Vec<Diagnostic>) {
    if !entries.iter().any(|(key, _)| key.name == "<<") {
        return;
    }
    let mut merged: Vec<(Key, Node)> = Vec::new();
    let (sources, own): (Vec<_>, Vec<_>) = std::mem::take(entries).into_iter().partition(|(key, _)| key.name == "<<");
    for (key, node) in sources {
        let maps = match node.kind {
            Kind::List(items) => items,
            _ => vec![node],
        };
        for map in maps {
            let Kind::Map(inherited) = map.kind else {
                found.push(Diagnostic::error(key.span, "'<<' takes a map, or a list of maps, to merge in"));
                continue;
            };
            let known = |name: &str| own.iter().chain(&merged).any(|(key, _)| key.name == name);
            let new: Vec<_> = inherited.into_iter().filter(|(key, _)| !known(&key.name)).collect();
            merged.extend(new);
        }
    }
    *entries = own;
    entries.extend(merged);
}

fn report_duplicates(entries: &mut Vec<(Key, Node)>, found: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<String, Span> = BTreeMap::new();
    entries.retain(|(key, _)| match first.get(&key.name) {
        Some(before) => {
            let message = format!("the key '{}' stands here twice", key.name);
            found.push(Diagnostic::error(key.span, message).also(*before, "first here").help("remove one of the two"));
            false
        }
        None => {
            first.insert(key.name.clone(), key.span);
            true
        }
    });
}

/// The parser counts characters, everybody else bytes.
struct Spans<'a> {
    text: &'a str,
    file: u16,
    /// Where the last conversion ended: markers come nearly in order, so each is a few steps from the one before.
    char_index: usize,
    byte_index: usize,
}

impl Spans<'_> {
    fn between(&mut self, start: Marker, end: Marker) -> Span {
        let start = self.byte_of(start.index());
        let end = self.byte_of(end.index()).max(start);
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn byte_of(&mut self, char_index: usize) -> usize {
        while self.char_index < char_index {
            let Some(next) = self.text[self.byte_index..].chars().next() else { break };
            self.byte_index += next.len_utf8();
            self.char_index += 1;
        }
        while self.char_index > char_index {
            let Some(previous) = self.text[..self.byte_index].chars().next_back() else { break };
            self.byte_index -= previous.len_utf8();
            self.char_index -= 1;
        }
        self.byte_index
    }

    /// Without the white space that blocks and block scalars end with.
    fn trimmed(&self, span: Span) -> Span {
        let inside = &self.text[span.start as usize..span.end as usize];
        Span { end: span.start + inside.trim_end().len() as u32, ..span }
    }
}

/// The parser's own words, with a hint at what is usually meant.
fn syntax_error(info: &str, at: Span, text: &str) -> Diagnostic {
    let line_start = text[..at.start as usize].rfind('\n').map_or(0, |newline| newline + 1);
    // Of a tab the parser says what it read when it came to it, which may begin a line before.
    let tab = text[line_start..].find('\t').filter(|_| info.contains("tab")).map(|offset| (line_start + offset) as u32);
    let at = tab.map_or(at, |tab| Span { start: tab, end: tab + 1, ..at });
    let (before, after) = text.split_at(at.start as usize);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = at.start as usize + after.find('\n').unwrap_or(after.len());
    let hint = if before[line_start..].contains('\t') || after.starts_with('\t') {
        "indent with spaces: YAML allows no tabs"
    } else if text[line_start..line_end].contains("${") {
        "inside [ ] and { } write '${NAME}' in quotes"
    } else if info.contains("mapping values are not allowed") {
        "keys of one map begin in the same column; a text with ': ' in it needs quotes"
    } else if info.contains("quoted scalar") {
        "is the quote closed?"
    } else if ["flow", "':' indicator", "node content"].iter().any(|word| info.contains(word)) {
        "is every [ and { closed?"
    } else {
        return Diagnostic::error(at, format!("not valid YAML: {info}"));
    };
    Diagnostic::error(at, format!("not valid YAML: {info}")).help(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in a short form, then the messages.
    fn shown(text: &str) -> String {
        let mut found = Vec::new();
        let node = parse(text, 0, &mut found);
        let mut out = node.map_or("nothing".to_owned(), |node| show(&node));
        for diagnostic in found {
            out += &format!("; {}", diagnostic.message);
        }
        out
    }

    fn show(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "null".to_owned(),
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::Broken(written) => written.clone(),
            Kind::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| format!("{}={}", key.name, show(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn trees_are_read() {
        for (text, expected) in [
            ("", "nothing"),
            ("a: 1\nb: [x, 'y z']\nc:\n", "{a=1 b=[x y z] c=null}"),
            ("d: &d {x: 1, y: 2}\ne: {<<: *d, y: 3}\n", "{d={x=1 y=2} e={y=3 x=1}}"),
            ("a: &a [1]\nb: *a\n", "{a=[1] b=[1]}"),
            ("a: 1\nb: 2\na: 3\n", "{a=1 b=2}; the key 'a' stands here twice"),
            ("a: 1\n---\nb: 2\n", "{a=1}; a second YAML document begins here; a file holds one"),
            ("a: !secret 1\n", "{a=1}; YAML tags ('!name') mean nothing here"),
            ("a: &a [*a]\n", "nothing; this alias stands inside the value it names"),
            ("{a: 1}: 2\n", "{=2}; a key must be plain text, not a list or a map"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            laughs += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
        }
        assert!(shown(&laughs).contains("more than 200000 values"), "{}", shown(&laughs));
        let wide = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
        assert!(shown(&wide).contains("more than 200000 values"));
        assert!(shown(&"- ".repeat(100)).contains("nested deeper than 64 levels"));
        assert!(shown(&"[".repeat(100_000)).starts_with("nothing; "));
    }

    #[test]
    fn spans_are_bytes() {
        let text = "ä: 'ö ü'\nlist: [é, b]\n";
        let mut found = Vec::new();
        let Some(Node { kind: Kind::Map(entries), .. }) = parse(text, 0, &mut found) else { panic!("no map") };
        let part = |span: Span| &text[span.start as usize..span.end as usize];
        assert_eq!(part(entries[0].0.span), "ä");
        assert_eq!(part(entries[0].1.span), "'ö ü'");
        assert_eq!(part(entries[1].1.span), "[é, b]");
    }
}

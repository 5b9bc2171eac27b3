//! The two text formats in which metrics are asked for, and the order of their lines: the registry keeps series in a map
//! whose order changes from one start to the next.

/// Asked for by what an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format, version 0.0.4, which everybody reads.
    Text,
    OpenMetrics,
}

impl Exposition {
    /// What to answer to whom accepts this: OpenMetrics for those who name it.
    pub fn accepted_by(accept: &str) -> Self {
        let mut kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let named = kinds.any(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        if named { Exposition::OpenMetrics } else { Exposition::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// `text`, which is OpenMetrics, in this format and with the series of each metric in order.
    pub fn write(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(header) = line.strip_prefix("# ") else { continue };
            match self {
                Exposition::OpenMetrics => out += line,
                Exposition::Text if header == "EOF" => break,
                Exposition::Text => out += &in_text(header, lines.peek().copied().unwrap_or_default()),
            }
            out.push('\n');
            let mut samples: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with('#'))).collect();
            // The buckets of a histogram are in order, and there is one of each.
            if !header.ends_with(" histogram") {
                samples.sort_unstable();
            }
            samples.iter().for_each(|sample| [sample, "\n"].into_iter().for_each(|part| out.push_str(part)));
        }
        out
    }
}

/// A header as the older format has it: a counter is named as its samples are, and an info is a gauge.
fn in_text(header: &str, next: &str) -> String {
    let mut words = header.splitn(3, ' ');
    let (keyword, name, rest) =
        (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let kind = if keyword == "TYPE" { rest } else { next.rsplit(' ').next().unwrap_or_default() };
    let (suffix, kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        kind => ("", kind),
    };
    format!("# {keyword} {name}{suffix} {}", if keyword == "TYPE" { kind } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "\
# HELP build Which this is.
# TYPE build info
build_info{version=\"1\"} 1
# HELP sends Sends.
# TYPE sends counter
sends_total{to=\"b\"} 2
sends_total{to=\"a\"} 1
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_sum 0.5
took_seconds_count 1
took_seconds_bucket{le=\"0.5\"} 1
took_seconds_bucket{le=\"+Inf\"} 1
# EOF
";

    #[test]
    fn series_are_in_order_in_both_formats() {
        let sorted = OPEN.replace("to=\"b\"} 2", "to=\"c\"} 0").replace("to=\"a\"} 1", "to=\"b\"} 2");
        let sorted = sorted.replace("to=\"c\"} 0", "to=\"a\"} 1");
        assert_eq!(Exposition::OpenMetrics.write(OPEN), sorted);
        let text = sorted.replace("build Which", "build_info Which").replace("build info", "build_info gauge");
        let text = text.replace("sends Sends", "sends_total Sends").replace("sends counter", "sends_total counter");
        assert_eq!(Exposition::Text.write(OPEN), text.replace("# EOF\n", ""));
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", Exposition::Text),
            ("*/*", Exposition::Text),
            ("text/plain;version=0.0.4", Exposition::Text),
            ("text/html, Application/OpenMetrics-Text", Exposition::OpenMetrics),
            (prometheus_3, Exposition::OpenMetrics),
        ] {
            assert_eq!(Exposition::accepted_by(accept), expected, "{accept}");
        }
    }
}

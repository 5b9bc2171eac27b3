//! promtool's notation for the samples of a series, to the letter: `0+10x60 _x5 stale`.
//!
//! | written | means |
//! |---|---|
//! | `5`, `-2.5`, `1e3`, `NaN`, `Inf` | one sample |
//! | `1+2x3` | 1 3 5 7: a first sample, and three more that grow by 2 each |
//! | `7-2x3` | 7 5 3 1 |
//! | `4x3` | 4 4 4 4 |
//! | `_`, `_x3` | no sample, three times no sample |
//! | `stale` | the series ends here |
//!
//! Native histograms (`{{...}}`) are refused: slowburn reads buckets.

/// The most samples of one series: a year at 30 s.
pub const MAX_SAMPLES: usize = 1 << 20;

/// What a scrape brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    Missing,
    Value(f64),
    /// The series ended.
    Stale,
}

/// What is wrong, where, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Offset in the text, in bytes.
    pub at: usize,
    pub length: usize,
    pub message: String,
}

/// The samples that `text` stands for.
pub(super) fn expand(text: &str) -> Result<Vec<Sample>, Wrong> {
    let mut samples = Vec::new();
    for (at, item) in items(text) {
        let wrong = |message: String| Wrong { at, length: item.len(), message };
        let (sample, step, count) = read(item).map_err(wrong)?;
        if count > MAX_SAMPLES - samples.len() {
            return Err(wrong(format!("a series may have {MAX_SAMPLES} samples; with this it has more")));
        }
        match sample {
            // As promtool does: added up, not multiplied.
            Sample::Value(mut value) => {
                for _ in 0..count {
                    samples.push(Sample::Value(value));
                    value += step;
                }
            }
            other => samples.resize(samples.len() + count, other),
        }
    }
    Ok(samples)
}

/// The words of `text`, each with its offset.
fn items(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |item| (item.as_ptr() as usize - text.as_ptr() as usize, item))
}

/// The first sample of an item, what the next ones grow by, and how many there are.
fn read(item: &str) -> Result<(Sample, f64, usize), String> {
    if item.starts_with("{{") {
        return Err("native histograms are not read here: give the buckets, series by series".to_owned());
    }
    if item == "stale" {
        return Ok((Sample::Stale, 0.0, 1));
    }
    if let Some(times) = item.strip_prefix('_') {
        return Ok((Sample::Missing, 0.0, if times.is_empty() { 1 } else { repeats(times)? }));
    }
    let (first, rest) = signed(item)?;
    if rest.is_empty() {
        return Ok((Sample::Value(first), 0.0, 1));
    }
    let (step, times) = if rest.starts_with(['+', '-']) { signed(rest)? } else { (0.0, rest) };
    if times.is_empty() {
        return Err(format!("'{item}' does not say how often: write {item}x10 for ten more samples"));
    }
    // One sample, and so many more.
    Ok((Sample::Value(first), step, repeats(times)?.saturating_add(1)))
}

/// `x10`.
fn repeats(text: &str) -> Result<usize, String> {
    let digits = text.strip_prefix('x').ok_or_else(|| format!("'{text}' is not 'x' and a number, such as x10"))?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("'{text}' is not 'x' and a whole number, such as x10"));
    }
    Ok(digits.parse().unwrap_or(usize::MAX))
}

/// A number with its sign, and what follows it.
fn signed(text: &str) -> Result<(f64, &str), String> {
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'+') => (1.0, &text[1..]),
        Some(b'-') => (-1.0, &text[1..]),
        _ => (1.0, text),
    };
    if unsigned.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let end = unsigned.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(unsigned.len());
        let (word, rest) = unsigned.split_at(end);
        return match word.to_ascii_lowercase().as_str() {
            "nan" => Ok((f64::NAN, rest)),
            "inf" => Ok((sign * f64::INFINITY, rest)),
            word if word.starts_with("stale") => Err("'stale' stands alone and comes once".to_owned()),
            _ => Err(format!("'{text}' is no sample: write a number, 1+2x3, _ or stale")),
        };
    }
    let (number, rest) = unsigned.split_at(number_length(unsigned));
    // With an 8 or a 9 in it it is read as any number.
    let is_octal =
        number.len() > 1 && number.starts_with('0') && number.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if is_octal {
        return Err(format!("promtool takes '{number}' for an octal number: write it without the leading zero"));
    }
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((sign * value, rest)),
        _ => Err(format!("'{text}' is no sample: write a number, 1+2x3, _ or stale")),
    }
}

/// How many bytes of `text` are a number: digits, a fraction, an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + sign);
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(samples: &[Sample]) -> String {
        let shown = samples.iter().map(|sample| match sample {
            Sample::Missing => "_".to_owned(),
            Sample::Stale => "stale".to_owned(),
            Sample::Value(value) => value.to_string(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn check(text: &str, expected: &str) {
        match expand(text) {
            Ok(samples) => assert_eq!(shown(&samples), expected, "{text}"),
            Err(wrong) => assert_eq!(format!("{}: {}", wrong.at, wrong.message), expected, "{text}"),
        }
    }

    #[test]
    fn series_are_written_as_for_promtool() {
        check("", "");
        check("1 2.5 -3 +4 .5 1e3", "1 2.5 -3 4 0.5 1000");
        check("1+2x3  7-2x3\n4x2", "1 3 5 7 7 5 3 1 4 4 4");
        check("-2+4x3", "-2 2 6 10");
        check(" 1 _x3 stale _", "1 _ _ _ stale _");
        check("1x0 1+5x0 _x0", "1 1");
        check("NaN Inf -inf NaN+1x1", "NaN inf -inf NaN NaN");
        check("0+0.1x3", "0 0.1 0.2 0.30000000000000004");
    }

    #[test]
    fn what_promtool_refuses_is_refused_with_a_word() {
        check("1 2+3", "2: '2+3' does not say how often: write 2+3x10 for ten more samples");
        check("1x", "0: 'x' is not 'x' and a whole number, such as x10");
        check("1x2.5", "0: 'x2.5' is not 'x' and a whole number, such as x10");
        check("1 x3", "2: 'x3' is no sample: write a number, 1+2x3, _ or stale");
        check("1y", "0: 'y' is not 'x' and a number, such as x10");
        check("stalex3", "0: 'stale' stands alone and comes once");
        check("NaNx3", "0: 'NaNx3' is no sample: write a number, 1+2x3, _ or stale");
        check("1 - 2x3", "2: '-' is no sample: write a number, 1+2x3, _ or stale");
        check("1e", "0: '1e' is no sample: write a number, 1+2x3, _ or stale");
        check("010", "0: promtool takes '010' for an octal number: write it without the leading zero");
        check("{{schema:1}}", "0: native histograms are not read here: give the buckets, series by series");
        let many = "0: a series may have 1048576 samples; with this it has more";
        check("1x1000000000", many);
        check("_x99999999999999999999999999", many);
        check("0+1x18446744073709551615", many);
    }

    /// An item and what it stands for, each sample by itself.
    fn any_item() -> impl Strategy<Value = (String, Vec<Sample>)> {
        let number = -1000..1000i32;
        prop_oneof![
            number.clone().prop_map(|n| (n.to_string(), vec![Sample::Value(f64::from(n))])),
            Just(("stale".to_owned(), vec![Sample::Stale])),
            Just(("_".to_owned(), vec![Sample::Missing])),
            (0..9usize).prop_map(|n| (format!("_x{n}"), vec![Sample::Missing; n])),
            (number.clone(), 0..9usize).prop_map(|(a, n)| (format!("{a}x{n}"), vec![Sample::Value(a.into()); n + 1])),
            (number.clone(), number, 0..9i32).prop_map(|(a, b, n)| {
                let samples = (0..=n).map(|i| Sample::Value(f64::from(a + b * i)));
                (format!("{a}{b:+}x{n}"), samples.collect())
            }),
        ]
    }

    proptest! {
        #[test]
        fn items_stand_for_their_samples_one_after_the_other(items in prop::collection::vec(any_item(), 0..8)) {
            let text: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
            let expected: Vec<Sample> = items.iter().flat_map(|(_, samples)| samples.clone()).collect();
            prop_assert_eq!(expand(&text.join(" ")), Ok(expected));
        }

        #[test]
        fn what_is_wrong_is_somewhere_in_the_text(text in "[-+0-9x_.eNaInfstl{} ]{0,16}|\\PC{0,8}") {
            if let Err(wrong) = expand(&text) {
                prop_assert!(text.get(wrong.at..wrong.at + wrong.length).is_some_and(|item| !item.is_empty()));
            }
        }
    }
}

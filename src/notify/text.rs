//! Text from elsewhere made harmless and short: names, labels and runbooks may hold anything a user or a metric's
//! label can hold.
//!
//! Lengths are counted in UTF-16 units, the strictest reading of a receiver's "characters".

const ELLIPSIS: char = '…';

/// One line of visible text: control characters, line breaks and characters that turn the direction of what follows
/// become spaces, runs of space one, and the ends are trimmed.
pub fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if is_invisible(c) { ' ' } else { c };
        if c != ' ' || !(line.is_empty() || line.ends_with(' ')) {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// As [`clean`], with the space at the front.
pub fn clean_indented(text: &str) -> String {
    let indent = text.len() - text.trim_start_matches(' ').len();
    format!("{}{}", &text[..indent], clean(text))
}

/// `text`, or its beginning and an ellipsis, in at most `max_units`.
pub fn clip(text: &str, max_units: usize) -> String {
    clip_mapped(text, max_units, |c, out| out.push(c))
}

/// As [`clip`], after `map` wrote its form of each character; a form is kept whole or left out.
pub fn clip_mapped(text: &str, max_units: usize, map: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len().min(max_units));
    let (mut units, mut form) = (0, String::new());
    // Where to cut if the rest turns out not to fit: the last place with room for the ellipsis.
    let mut cut = 0;
    for c in text.chars() {
        form.clear();
        map(c, &mut form);
        units += self::units(&form);
        if units > max_units {
            out.truncate(cut);
            out.truncate(out.trim_end().len());
            if max_units > 0 {
                out.push(ELLIPSIS);
            }
            return out;
        }
        out.push_str(&form);
        if units < max_units {
            cut = out.len();
        }
    }
    out
}

/// [`clean`], then [`clip`].
pub fn line(text: &str, max_units: usize) -> String {
    clip(&clean(text), max_units)
}

/// The length that limits are held against.
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_text_becomes_one_line() {
        assert_eq!(clean(" check\r\nout\0\u{202e}gpj.exe\u{7} \t x "), "check out gpj.exe x");
        assert_eq!(clean("\u{5e9}\u{5dc}\u{5d5}\u{5dd} 👩‍🚒"), "\u{5e9}\u{5dc}\u{5d5}\u{5dd} 👩‍🚒");
    }

    #[test]
    fn a_cut_ends_in_an_ellipsis_and_splits_no_form() {
        assert_eq!(clip("database", 8), "database");
        assert_eq!(clip("database", 7), "databa…");
        assert_eq!(clip("a 🔥🔥", 5), "a 🔥…");
        assert_eq!(clip("ab", 0), "");
        let escape = |c: char, out: &mut String| if c == '&' { out.push_str("&amp;") } else { out.push(c) };
        assert_eq!(clip_mapped("a&b&c", 10, escape), "a&amp;b…");
        assert_eq!(clip_mapped("a&b&", 12, escape), "a&amp;b&amp;");
    }

    proptest! {
        #[test]
        fn a_clipped_text_fits(text in any::<String>(), max in 0usize..40) {
            let clipped = clip(&text, max);
            prop_assert!(units(&clipped) <= max);
            prop_assert!(units(&text) > max || clipped == text);
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }
    }
}

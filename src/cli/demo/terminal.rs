//! The terminal while the demo draws on it: a page of its own, without a cursor, put back however the demo ends.

use std::io::{self, Write};

use super::line::Line;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where the terminal does not say how large it is.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Dropping it puts the terminal back.
#[derive(Debug)]
pub struct Terminal {
    colours: bool,
}

impl Terminal {
    pub fn enter() -> io::Result<Self> {
        let colours = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        put(ENTER)?;
        Ok(Self { colours })
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        let size = terminal_size::terminal_size_of(io::stdout());
        size.map_or(USUAL_SIZE, |(columns, rows)| (usize::from(columns.0), usize::from(rows.0)))
    }

    /// Replaces what is shown, in one write so that nothing flickers.
    pub fn show(&self, lines: &[Line]) -> io::Result<()> {
        let columns = self.size().0;
        let painted: Vec<String> =
            lines.iter().map(|line| format!("{}\x1b[K", line.painted(columns, self.colours))).collect();
        put(&format!("\x1b[H{}\x1b[J", painted.join("\r\n")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell if this fails.
        let _ = put(LEAVE);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

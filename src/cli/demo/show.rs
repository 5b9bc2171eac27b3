//! Where the story is shown: redrawn on a terminal, or told line by line.

use std::io::{self, IsTerminal as _, Write as _};

use super::plain::{self, Log};
use super::screen;
use super::story::{Event, Scene, Story};
use super::terminal::Terminal;

#[derive(Debug)]
pub enum Show {
    Screen(Terminal),
    Lines(Log),
}

impl Show {
    /// Lines if asked for, or if nobody could see a redrawn screen.
    pub fn open(plain: bool, story: &Story) -> io::Result<Self> {
        if plain || !io::stdout().is_terminal() {
            print(&plain::introduction(&story.scene()))?;
            return Ok(Show::Lines(Log::default()));
        }
        Terminal::enter().map(Show::Screen)
    }

    pub fn update(&mut self, scene: &Scene<'_>, events: &[Event]) -> io::Result<()> {
        match self {
            Show::Screen(terminal) => {
                let (columns, rows) = terminal.size();
                terminal.show(&screen::draw(scene, columns, rows))
            }
            Show::Lines(log) => print(&log.update(scene, events)),
        }
    }

    /// Gives the terminal back and, unless something went wrong, says what there was to be seen.
    pub fn close(self, scene: &Scene<'_>, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        drop(self);
        outcome?;
        Ok(print(&plain::farewell(scene))?)
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

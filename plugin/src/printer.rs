//! The one place that prints: data to stdout, talk to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::io::{IsTerminal, Write};

use crate::cli::ColorChoice;
use crate::error::Failure;

/// A colour by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Git,
    Live,
    Change,
    Dim,
    Bold,
}

/// Writes for people and for programs.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    color: bool,
    stderr_color: bool,
    width: usize,
}

/// Columns where nobody says how many there are, and the fewest and most that
/// text is laid out for.
const WIDTH: usize = 100;
const NARROWEST: usize = 40;
const WIDEST: usize = 160;

impl Printer {
    /// By the flag, NO_COLOR, CLICOLOR_FORCE, and whether a terminal listens.
    pub fn new(choice: ColorChoice) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let color = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !set("NO_COLOR") && (set("CLICOLOR_FORCE") || terminal),
        };
        let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let terminal =
            || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
        Self {
            color: color(std::io::stdout().is_terminal()),
            stderr_color: color(std::io::stderr().is_terminal()),
            width: said.or_else(terminal).unwrap_or(WIDTH).clamp(NARROWEST, WIDEST),
        }
    }

    /// The same, for text of so many columns.
    #[cfg(test)]
    pub fn wide(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Columns of the terminal.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether a person looks at stdout.
    pub fn is_seen(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// A new page of a picture that is drawn again and again.
    pub fn page(&self, lines: &[String]) {
        if self.is_seen() {
            self.line("\u{1b}[H\u{1b}[2J");
        }
        lines.iter().for_each(|line| self.line(line));
    }

    /// Asks; an answer that is no yes is a no.
    fn asks(&self, question: &str) -> bool {
        let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Goes on with a yes alone; where nobody can answer, `way` says how to do
    /// without, and after a no, `undone` what has not happened.
    pub fn agrees(&self, question: &str, way: &str, undone: &str) -> Result<(), Failure> {
        if !self.can_ask() {
            return Err(Failure::usage(format!("{question} Nobody is there to answer")).hint(way));
        }
        if self.asks(question) { Ok(()) } else { Err(Failure::other(undone)) }
    }

    /// Whether there is somebody to answer.
    fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    /// Text in a colour, where colours are shown.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        paint(self.color, ink, text)
    }

    /// Whether someone watches stderr.
    pub fn is_watched(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Data, with a line end. A reader that went away ends the program quietly.
    pub fn line(&self, text: &str) {
        if writeln!(std::io::stdout().lock(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// Talk, with a line end.
    pub fn talk(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Asks a person; where there is none, the answer is no.
    pub fn confirms(&self, question: &str) -> bool {
        self.is_watched() && self.can_ask() && self.asks(question)
    }

    /// A mistake that stops nothing.
    pub fn warning(&self, text: &str) {
        self.talk(&format!("{} {text}", paint(self.stderr_color, Ink::Change, "warning:")));
    }

    /// What went wrong, and the way out.
    pub fn failure(&self, failure: &Failure) {
        self.talk(&format!("{} {}", paint(self.stderr_color, Ink::Live, "error:"), failure.message));
        if let Some(hint) = &failure.hint {
            self.talk(&format!("{} {hint}", paint(self.stderr_color, Ink::Bold, "hint:")));
        }
    }
}

fn paint(color: bool, ink: Ink, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match ink {
        Ink::Git => "32",
        Ink::Live => "31",
        Ink::Change => "33",
        Ink::Dim => "2",
        Ink::Bold => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}
